"""Names of data files: the suffixes of formats and compression, in any case."""

from lodestar.data.readers import decompression

DELIMITED_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = (*DELIMITED_SUFFIXES, *JSON_SUFFIXES, *PARQUET_SUFFIXES)


def stem(name: str) -> str:
    """A data file's name in lower case, without the suffixes of its format and compression."""
    low = decompression.without_suffix(name)
    return next((low.removesuffix(suffix) for suffix in SUFFIXES if low.endswith(suffix)), low)


def has_suffix(name: str) -> bool:
    """Whether a file's name ends in the suffix of a format that is read, in any case, packed or not."""
    return decompression.without_suffix(name).endswith(SUFFIXES)
