"""Reports: the evaluation page, the model card and the data profile, each one self-contained file."""
