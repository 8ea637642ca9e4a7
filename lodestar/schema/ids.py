"""Normal form of ids and texts that stand for null: the one reading of an id, in Python and in SQL.

Spreadsheets and data frames write the id 5 as `5.0` or ` 5`, so that two files, or a file and a request, name one user by two texts. The
normal form has no spaces around it, and no decimal places or exponent where it is a whole number that a float keeps exactly.
"""

import re
from decimal import Decimal

from lodestar.schema.columns import MAX_ID_BYTES

# What `str.isspace` names, but for the separators of records (U+001C to U+001F); a test holds both.
SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
# Texts that programs write where there is no value; of other words only these spellings.
NULL_TEXTS = (
    *("null", "NULL", "Null", "none", "None", "NONE", "nil", "Nil", "NIL", "nan", "NaN", "NAN", "Nan", "naN"),
    *("NA", "N/A", "n/a", "<NA>", "#N/A", "\\N", "undefined", "(not set)", "(null)", "-"),
)
NULLS = frozenset(NULL_TEXTS)
# A whole number below 10^15, which a float and a text keep alike, as a float is written.
DECIMALS = r"-?(0|[1-9]\d{0,14})\.0+"
# A whole number as Java writes a float from 10^7 on: all digits that tell it from its neighbours.
EXPONENT = r"-?[1-9]\.\d{1,14}E([7-9]|1[0-4])"
# As C and spreadsheets write a large number: digits may have been cut off, so that several ids are one.
SHORTENED = r"-?[1-9]\.\d{1,14}[eE]\+\d{1,3}"
MAX_EXPONENT = 14
SESSION_PREFIX = "session:"  # of the user that stands for a session
MAX_UTF8_BYTES_PER_CHARACTER = 4
SHORT_CHARACTERS = MAX_ID_BYTES // MAX_UTF8_BYTES_PER_CHARACTER  # texts up to here need no count of bytes
_DECIMALS, _EXPONENT, _SHORTENED = (re.compile(pattern, re.ASCII) for pattern in (DECIMALS, EXPONENT, SHORTENED))


def normalise(text: str) -> str:
    """The normal form of an id: ` u1` is `u1`; `5.0` and `5.000` are `5`; `1.234567890125E12` is `1234567890125`; others stay.

    `1.23e+12` stays too: its digits may be cut off (`is_shortened`). A text of spaces gives "".
    """
    plain = text.strip(SPACES)
    if not plain or plain[-1] not in "0123456789":  # nearly all ids of letters
        return plain
    if _DECIMALS.fullmatch(plain):
        return plain.partition(".")[0]
    if "." in plain and (_EXPONENT.fullmatch(plain) or _SHORTENED.fullmatch(plain)):
        return _without_exponent(plain)
    return plain


def user_of_session(session: str) -> str:
    """The user that stands for a session without one."""
    return SESSION_PREFIX + normalise(session)


def is_id(text: str) -> bool:
    """Whether a text names somebody or something, which requests, the collector and the validator of files agree on.

    Its normal form has 1–128 bytes, does not stand for null, and is no number whose last digits may be cut off.
    """
    normal = normalise(text)
    return bool(normal) and normal not in NULLS and not is_shortened(normal) and not is_too_long(normal)


def is_too_long(text: str) -> bool:
    """Whether a text has more bytes in UTF-8 than an id may have."""
    return len(text) > SHORT_CHARACTERS and (len(text) > MAX_ID_BYTES or len(text.encode()) > MAX_ID_BYTES)


def is_shortened(text: str) -> bool:
    """Whether a normal form is a number whose last digits may be cut off, such as `1.23e+12`."""
    return "." in text and bool(_SHORTENED.fullmatch(text)) and (parts := _parts(text))[1] > parts[0]


def _parts(text: str) -> tuple[int, int]:
    """Number of decimal places and exponent of a number in scientific notation."""
    digits, _, exponent = text.upper().partition("E")
    return len(digits.partition(".")[2]), int(exponent)


def _without_exponent(text: str) -> str:
    places, exponent = _parts(text)
    is_whole = exponent <= MAX_EXPONENT and (exponent == places or ("+" not in text and exponent > places))
    return str(int(Decimal(text))) if is_whole else text
