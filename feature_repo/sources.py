"""Where feature tables lie: Parquet under `data/` of the folder that Feast is run in, with the time a row became known."""

from feast import FileSource

from lodestar import schema


def table(name: str) -> FileSource:
    """The source of a view; made where it is used, since Feast takes a source that two modules hold for two."""
    return FileSource(
        name=f"{name}_table",
        path=f"data/{name}.parquet",
        timestamp_field=schema.FEATURE_TIME,
        created_timestamp_column=schema.KNOWN_TIME,
    )
