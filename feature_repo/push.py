"""Push sources: streaming counts and sequences for the online store between two builds, `store.push(push.name(view), rows)`."""

from feast import PushSource

from feature_repo import sources


def name(view: str) -> str:
    """The name of a view's push source."""
    return f"{view}_push"


def source(view: str) -> PushSource:
    """A view's source that also accepts pushes; its batch source is the view's table."""
    return PushSource(name=name(view), batch_source=sources.table(view))
