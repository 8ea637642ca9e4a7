"""Where an online store keeps what: a row for each view and entity, and beside them each layout that rows have been written in."""


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
