"""Where things lie: a training set, and of an online store the row of each view and entity, and each layout that rows are written in."""

TRAINING_SET = "training_set.parquet"  # in a folder of features: labels with what was known at their moments
GENERATION = "generation"  # there too: the name of all that was built together
RATINGS = "ratings"  # a table beside the views: who rated what


def row_key(project: str, view: str, entity: bytes) -> bytes:
    return f"{project}:row:{view}:".encode() + entity


def layout_key(project: str, view: str, signature: bytes) -> bytes:
    return f"{project}:layout:{view}:{signature.hex()}".encode()


def rows_table(project: str, view: str) -> str:
    """In a SQL database: a table of (entity, row, event_us, known_us) for each view."""
    return f"{project}_{view}"


def layouts_table(project: str) -> str:
    """In a SQL database: one table of (signature, layout)."""
    return f"{project}_layouts"
