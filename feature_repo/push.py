"""How a stream's counts and sequences reach the online store between two builds: `store.push(push.name(view), rows)`."""

from feast import PushSource

from feature_repo import sources


def name(view: str) -> str:
    """What Feast calls the push source of a view."""
    return f"{view}_push"


def source(view: str) -> PushSource:
    """A view's source that also takes pushes; what is not pushed comes from the view's table."""
    return PushSource(name=name(view), batch_source=sources.table(view))
