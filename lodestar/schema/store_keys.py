"""File names of a feature set, and keys and tables of the online store (Redis, SQL): rows, layouts and the current generation."""

from lodestar.schema.time_units import DAY_S

TRAINING_SET = "training_set.parquet"  # in a feature set: labels with point-in-time features
GENERATION = "generation"  # in a feature set: the digest that names its generation
BUILT_FROM = "built_from"  # in a feature set: the digest of the tables that it was built from
RATINGS = "ratings"  # in a feature set: the table of ratings
# In Redis, among the rows of a view under a key that no entity has (it is not UTF-8): the state of filling a generation.
STATE, COMPLETE, FILLING = b"\xff", b"complete", b"filling"
KEPT_S = DAY_S  # retention in Redis of a superseded generation since a predictor last read it


def rows_key(project: str, generation: str, view: str) -> bytes:
    """Redis key of the hash of rows by entity; an empty generation is that of a store in which none was published."""
    return f"{project}:rows:{generation}:{view}".encode()


def layout_key(project: str, view: str, signature: bytes) -> bytes:
    """Redis key of a row layout (JSON) by its signature."""
    return f"{project}:layout:{view}:{signature.hex()}".encode()


def current_key(project: str) -> bytes:
    """Redis key of the current generation and the start time of the run that published it."""
    return f"{project}:current".encode()


def generations_key(project: str) -> bytes:
    """Redis key of the set of generations that may be stored."""
    return f"{project}:generations".encode()


def rows_table(project: str, view: str) -> str:
    """SQL table of a view's rows: (entity, row, event_us, known_us)."""
    return f"{project}_{view}"


def layouts_table(project: str) -> str:
    """SQL table of row layouts: (signature, layout)."""
    return f"{project}_layouts"


def generation_table(project: str) -> str:
    """SQL table with the generation of the stored rows: (generation)."""
    return f"{project}_generation"
