"""Small files in the shape of public datasets, as their owners publish them: made up, each with the published header and its source."""
