"""What a declaration says about a dataset itself: owners, licence, size, editions, downloads, and by what its files are recognised."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from lodestar.data.declaration.strict import Names, Several, Strict, Text, one_or_more


class Download(Strict):
    """A file or zip archive that the owners give out without an account: its address, and what of it is kept.

    bytes    its size, 0 where it is not known for certain
    sha256   its checksum, empty where it is not known for certain
    members  files of an archive that are kept; a file that is no archive has none
    """

    url: Text
    bytes: Annotated[int, Field(ge=0)] = 0
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    members: Names = ()


Downloads = Annotated[tuple[Download, ...], BeforeValidator(one_or_more)]


class Edition(Strict):
    """One of several editions of a dataset whose files have one form."""

    title: Text
    size: Text
    good_for: Text = ""
    download: Downloads = ()


class About(Strict):
    """What a dataset is: title, page of its owners, licence in a few words, terms of use, how to cite it, size, what it is good for.

    Where there are several editions, by the name of `lodestar data fetch`, each has a title, a size and a download of its own. `files` are
    those that code reads.
    """

    title: Text = ""
    url: Text = ""
    licence: Text = ""
    terms: Text = ""
    citation: Text = ""
    size: Text = ""
    good_for: Text = ""
    files: Several = ()
    download: Downloads = ()
    editions: dict[str, Edition] = {}


class Recognition(Strict):
    """By what a file is recognised as a table's source, beside its name: columns that it has, columns that it has not, values.

    Values are regular expressions by column, which all values that are not empty match. A file with another name than `files` says is
    recognised if `any_name`, that is, if no other file looks like it. With `alone` one file alone may match `files`. Of a dataset whose
    source is `optional` the file may be absent. A column that the declaration names and the file lacks is left out, unless it is among
    `columns`.
    """

    columns: Names = ()
    without: Several = ()
    values: dict[str, str] = {}
    any_name: bool = False
    alone: bool = False
    optional: bool = False

    @field_validator("values")
    @classmethod
    def _patterns(cls, values: dict[str, str]) -> dict[str, str]:
        for column, pattern in values.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{column}: {pattern!r} is no regular expression ({error})") from error
        return values
