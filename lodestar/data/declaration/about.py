"""What a declaration says about a dataset itself: owners, licence, size, editions, downloads, and by what its files are recognised."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from lodestar.data.declaration.strict import Names, Several, Strict, Text, one_or_more


class Download(Strict):
    """A file or zip archive that the owners give out without an account."""

    url: Annotated[Text, "address"]
    bytes: Annotated[int, Field(ge=0), "size, 0 where it is not known for certain"] = 0
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$"), "checksum, empty where it is not known for certain"] = ""
    members: Annotated[Names, "files of an archive that are kept; a file that is no archive has none"] = ()


Downloads = Annotated[tuple[Download, ...], BeforeValidator(one_or_more)]


class Edition(Strict):
    """One of several editions of a dataset whose files have one form."""

    title: Annotated[Text, "title"]
    size: Annotated[Text, "size in words"]
    good_for: Annotated[Text, "what it is good for"] = ""
    download: Annotated[Downloads, "files that the owners give out"] = ()


class About(Strict):
    """What a dataset is, for `lodestar data list`."""

    title: Annotated[Text, "title"] = ""
    url: Annotated[Text, "page of its owners"] = ""
    licence: Annotated[Text, "licence in a few words"] = ""
    terms: Annotated[Text, "terms of use"] = ""
    citation: Annotated[Text, "how to cite it"] = ""
    size: Annotated[Text, "size in words"] = ""
    good_for: Annotated[Text, "what it is good for"] = ""
    files: Annotated[Several, "files that code reads, with `reader`"] = ()
    download: Annotated[Downloads, "files that the owners give out without an account"] = ()
    editions: Annotated[dict[str, Edition], "editions whose files have one form, by the name of `lodestar data fetch`"] = {}


class Recognition(Strict):
    """By what a file is recognised as a table's source, beside its name.

    A column that the declaration names and the file lacks is left out, unless it is among `columns`.
    """

    columns: Annotated[Names, "columns that the file has"] = ()
    without: Annotated[Several, "columns that it has not"] = ()
    values: Annotated[dict[str, str], "regular expressions by column, which all values that are not empty match"] = {}
    any_name: Annotated[bool, "whether a file with another name than `files` says is recognised: no other file looks like it"] = False
    alone: Annotated[bool, "whether one file alone may match `files`"] = False
    optional: Annotated[bool, "whether the file may be absent"] = False

    @field_validator("values")
    @classmethod
    def _patterns(cls, values: dict[str, str]) -> dict[str, str]:
        for column, pattern in values.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{column}: {pattern!r} is no regular expression ({error})") from error
        return values
