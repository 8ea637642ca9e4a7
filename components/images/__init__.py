"""Container images of the steps: names and tags, from hashes of the code and of the installed requirements."""
