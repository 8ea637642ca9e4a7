"""Where things lie: a training set and its generation's name, and of an online store rows, layouts, and what says whose rows they are."""

TRAINING_SET = "training_set.parquet"  # in a folder of features: labels with what was known at their moments
GENERATION = "generation"  # there too: the name of all that was built together
BUILT_FROM = "built_from"  # there too: the digest of the tables that it was built from
RATINGS = "ratings"  # a table beside the views: who rated what
# In Redis, among the rows of a view under a name that no entity has (it is no UTF-8): how far the generation is filled, and until when.
STATE, COMPLETE, FILLING = b"\xff", b"complete", b"filling"
KEPT_S = 86_400  # how long a generation stays in Redis that was superseded and that no predictor has read


def rows_key(project: str, generation: str, view: str) -> bytes:
    """In Redis: a hash of the rows by entity. A generation without a name is that of a store in which none was published."""
    return f"{project}:rows:{generation}:{view}".encode()


def layout_key(project: str, view: str, signature: bytes) -> bytes:
    return f"{project}:layout:{view}:{signature.hex()}".encode()


def current_key(project: str) -> bytes:
    """In Redis: which generation was published last, and when the run started that did so."""
    return f"{project}:current".encode()


def generations_key(project: str) -> bytes:
    """In Redis: the set of generations that may be there."""
    return f"{project}:generations".encode()


def rows_table(project: str, view: str) -> str:
    """In a SQL database: a table of (entity, row, event_us, known_us) for each view."""
    return f"{project}_{view}"


def layouts_table(project: str) -> str:
    """In a SQL database: one table of (signature, layout)."""
    return f"{project}_layouts"


def generation_table(project: str) -> str:
    """In a SQL database: one table of (generation), with the one whose rows these are."""
    return f"{project}_generation"
