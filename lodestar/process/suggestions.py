"""Messages about a name that is not known: the nearest that is, and all of them on lines that fit a terminal of 80 columns."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from textwrap import fill

from lodestar.process.safe_text import quoted

LIST_WIDTH = 76  # of 80 columns: lines of a message after the first are indented by two, by four where a run repeats a step's error


def unknown_name(what: str, name: str, names: Iterable[str], variants: Iterable[str] = ()) -> str:
    """The message about a name that is not among `names`: the nearest one, and the list of all.

    `what` begins the message, such as "no recipe"; `variants` are names that may be meant too, and are not listed.
    """
    known = list(names)
    return f"{what} {quoted(name)}{suggestion(name, [*known, *variants]) or '.'} There are:\n{listed(known)}"


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean NAME?` with the nearest of the names, empty if none is near."""
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Names separated by commas, on lines of at most `LIST_WIDTH` characters."""
    return fill(", ".join(names), LIST_WIDTH, break_long_words=False, break_on_hyphens=False)


def shortened(names: Sequence[str], most: int = 6) -> str:
    """The first names in words, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
