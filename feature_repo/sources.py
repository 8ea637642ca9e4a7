"""Feast file sources of the feature tables: Parquet under `data/` of the feature folder, with event time and known time."""

from feast import FileSource

from lodestar import schema


def table(name: str) -> FileSource:
    """The file source of a view; created where it is used, since Feast treats a source in two modules as two."""
    return FileSource(
        name=f"{name}_table",
        path=f"data/{name}.parquet",
        timestamp_field=schema.FEATURE_TIME,
        created_timestamp_column=schema.KNOWN_TIME,
    )
