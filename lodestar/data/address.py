"""Data address: path, column mapping, time zone and cache key in one text: `clicks.csv?map=event_time=ts,user_id=uid&zone=UTC&cache=2`.

A pipeline run has one parameter for its data, so options of the command line are appended to the path. Names are percent-encoded. `cache`
only changes the data version: with another text all steps run anew and their outputs are cached under it.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from lodestar import schema
from lodestar.errors import UsageError
from lodestar.process.suggestions import unknown_name

MAP, ZONE, CACHE = "map", "zone", "cache"
CACHE_TEXT = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A path, the mapping of column names (ours to theirs), the zone of times without an offset, and a cache key; both may be empty.

    UsageError for an empty path, for a mapping of a column that the contract does not have, and for a zone that there is not.
    """

    path: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    time_zone: str = ""
    cache: str = ""

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise UsageError("the address of the data is empty: give a file, a folder or an s3:// address, such as --data clicks.csv")
        known = {name for table in schema.TABLES.values() for name in table.names}
        for ours in self.mapping:
            if ours not in known:
                raise UsageError(unknown_name(f"--map {ours}=…: the contract has no column", ours, sorted(known)))
        if self.time_zone:
            _check_zone(self.time_zone)

    def __str__(self) -> str:
        options = []
        if self.mapping:
            renamed = (f"{ours}={quote(theirs, safe='')}" for ours, theirs in sorted(self.mapping.items()))
            options.append(f"{MAP}={','.join(renamed)}")
        if self.time_zone:
            options.append(f"{ZONE}={self.time_zone}")
        if self.cache:
            options.append(f"{CACHE}={self.cache}")
        return self.path + ("?" + "&".join(options) if options else "")


def parse_address(data: str, mapping: Mapping[str, str] | None = None, time_zone: str = "") -> Address:
    """Parse a data address; `mapping` is added to its own, and takes precedence over it, as `time_zone` does.

    A question mark without an option after it belongs to the path. UsageError for an unknown or invalid option.
    """
    path, mark, options = data.rpartition("?")
    if not mark or not options.startswith((f"{MAP}=", f"{ZONE}=", f"{CACHE}=")):
        return Address(path=data, mapping=mapping or {}, time_zone=time_zone)
    own_mapping: dict[str, str] = {}
    zone = cache = ""
    for option in options.split("&"):
        name, _, value = option.partition("=")
        if name == MAP:
            own_mapping = {ours: unquote(theirs) for ours, theirs in parse_mapping(value.split(",")).items()}
        elif name == ZONE:
            zone = value
        elif name == CACHE and CACHE_TEXT.fullmatch(value):
            cache = value
        elif name == CACHE:
            raise UsageError(f"{option!r}: {CACHE} takes 1 to 32 letters, digits, dots, dashes or underscores, such as {CACHE}=2")
        else:
            raise UsageError(unknown_name("a data address has no option", name, (MAP, ZONE, CACHE)))
    return Address(path=path, mapping={**own_mapping, **(mapping or {})}, time_zone=time_zone or zone, cache=cache)


def given_address(options: argparse.Namespace) -> str:
    """The data address of the command line's --data with its --map and --time-zone; UsageError for an invalid one."""
    return str(parse_address(options.data, parse_mapping(options.map), options.time_zone))


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise UsageError(f"there is no time zone {name!r}; give one of the IANA's, such as UTC or Europe/Paris") from error


def parse_mapping(texts: list[str]) -> dict[str, str]:
    """Parse `ours=theirs` texts into a mapping; UsageError where one has another form or a column comes twice."""
    mapping: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs) or ours in mapping:
            raise UsageError(f"{text!r} is no column mapping; write --map ours=theirs, such as --map {schema.EVENT_TIME}=ts")
        mapping[ours] = theirs
    return mapping
