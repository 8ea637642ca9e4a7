"""Data address: path, column mapping and cache key in one text: `clicks.csv?map=event_time=ts,user_id=uid&cache=2`.

A pipeline run has one parameter for its data, so options of the command line are appended to the path. Names are percent-encoded. `cache`
only changes the data version: with another text all steps run anew and their outputs are cached under it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from lodestar import schema
from lodestar.errors import UsageError
from lodestar.process.safe_text import quoted
from lodestar.process.suggestions import unknown_name

MAP, CACHE = "map", "cache"
CACHE_TEXT = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A path, the mapping of column names (ours to theirs) and a cache key, which may be empty.

    UsageError for an empty path, and for a mapping of a column that the contract does not have.
    """

    path: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise UsageError(
                "the address of the data is empty: give a file, a folder or an s3:// address, such as --data clicks.csv", code="E305"
            )
        known = {name for table in schema.TABLES.values() for name in table.names}
        for ours in self.mapping:
            if ours not in known:
                raise UsageError(unknown_name(f"--map {ours}=…: the contract has no column", ours, sorted(known)), code="E304")

    def __str__(self) -> str:
        options = []
        if self.mapping:
            renamed = (f"{ours}={quote(theirs, safe='')}" for ours, theirs in sorted(self.mapping.items()))
            options.append(f"{MAP}={','.join(renamed)}")
        if self.cache:
            options.append(f"{CACHE}={self.cache}")
        return self.path + ("?" + "&".join(options) if options else "")


def parse_address(data: str, mapping: Mapping[str, str] | None = None) -> Address:
    """Parse a data address; `mapping` is added to its own, and takes precedence over it.

    A question mark without an option after it belongs to the path. UsageError for an unknown or invalid option.
    """
    path, mark, options = data.rpartition("?")
    if not mark or not options.startswith((f"{MAP}=", f"{CACHE}=")):
        return Address(path=data, mapping=mapping or {})
    own_mapping: dict[str, str] = {}
    cache = ""
    for option in options.split("&"):
        name, _, value = option.partition("=")
        if name == MAP:
            own_mapping = {ours: unquote(theirs) for ours, theirs in parse_mapping(value.split(",")).items()}
        elif name == CACHE and CACHE_TEXT.fullmatch(value):
            cache = value
        elif name == CACHE:
            raise UsageError(
                f"{quoted(option)}: {CACHE} takes 1 to 32 letters, digits, dots, dashes or underscores, such as {CACHE}=2", code="E305"
            )
        else:
            raise UsageError(unknown_name("a data address has no option", name, (MAP, CACHE)), code="E305")
    return Address(path=path, mapping={**own_mapping, **(mapping or {})}, cache=cache)


def parse_mapping(texts: list[str]) -> dict[str, str]:
    """Parse `ours=theirs` texts into a mapping; UsageError where one has another form or a column comes twice."""
    mapping: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if ours in mapping:
            raise UsageError(f"{ours} is mapped twice, from {mapping[ours]} and {theirs}: keep one --map", code="E304")
        if not (ours and equals and theirs):
            raise UsageError(f"{quoted(text)} is no column mapping; write --map OURS=THEIRS, as --map {schema.EVENT_TIME}=ts", code="E304")
        mapping[ours] = theirs
    return mapping
