"""Tables on disk: Parquet parts, the manifest that lists them, and the merge of rows with the same key."""
