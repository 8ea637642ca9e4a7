"""Forms of options' values: each parses a text, or raises argparse.ArgumentTypeError with the form that it must have."""

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from lodestar.process.safe_text import quoted

MAX_PORT, MAX_COUNT, MAX_SEED, MAX_HOST_BYTES = 0xFFFF, 1_000_000_000, 2**63 - 1, 253
MAX_DIGITS = 19
DAY_S = 86_400
IMAGE_REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*")
_IMAGE = re.compile(r"[a-z0-9][\w./:@-]*", re.ASCII)
_OBJECT_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kKMGTPE]i?)?")
_WEB_ADDRESS = re.compile(r"https?://[^\s/]+(/\S*)?")


def whole_number(low: int, high: int = MAX_COUNT) -> Callable[[str], int]:
    """The form of a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS and low <= int(text) <= high:
            return int(text)
        raise ArgumentTypeError(f"needs a whole number from {low:,} to {high:,}, got {quoted(text)}")

    return parse


count = whole_number(1)
seed = whole_number(0, MAX_SEED)


def port(text: str) -> int:
    """Parse a TCP port, 0 (any free one) to 65,535."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS) or int(text) > MAX_PORT:
        raise ArgumentTypeError(f"{quoted(text)} is no port; there are 0 (any free one) to {MAX_PORT}")
    return int(text)


def host(text: str) -> str:
    """Parse an IP address or a name, an IPv6 address with or without brackets."""
    name = text.removeprefix("[").removesuffix("]")
    if not name or len(name) > MAX_HOST_BYTES or not (name.isascii() and name.isprintable()) or " " in name:
        raise ArgumentTypeError(f"{quoted(text)} is no IP address or name; 0.0.0.0 listens on all addresses")
    return name


def seconds(text: str) -> float:
    """Parse a time in seconds, above 0 and at most a day."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= DAY_S:
        raise ArgumentTypeError(f"needs a number of seconds above 0 and at most {DAY_S:,}, got {quoted(text)}")
    return number


def given(text: str) -> str:
    """A text that is not empty: an address, a path, a name."""
    if not text.strip():
        raise ArgumentTypeError("is empty: give a value, or leave the option out")
    return text


def local_path(text: str) -> Path:
    """A path on this machine."""
    if "://" in given(text):
        raise ArgumentTypeError(f"{quoted(text)} is not a path on this machine: give a local path, and copy it from or to there")
    return Path(text)


def pipeline_path(text: str) -> Path:
    """The path of a compiled pipeline, which kfp reads by its suffix."""
    if not text.endswith(".yaml"):
        raise ArgumentTypeError(f"{quoted(text)} does not end with .yaml, by which kfp knows a pipeline")
    return local_path(text)


def web_address(text: str) -> str:
    """An address that begins with http:// or https://."""
    if not _WEB_ADDRESS.fullmatch(text):
        raise ArgumentTypeError(f"{quoted(text)} is no address of a server; write https://HOST or http://HOST:PORT")
    return text


def origin(text: str) -> str:
    """A CORS origin, or * for any."""
    if text not in {"*", "null"} and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/]+", text):
        raise ArgumentTypeError(f"{quoted(text)} is no origin; write https://HOST, without a path, or *")
    return text


def registry(text: str) -> str:
    """A registry of container images, with a port and folders if it has them."""
    if not IMAGE_REGISTRY.fullmatch(text):
        raise ArgumentTypeError(f"{quoted(text)} is no registry of images; write it as registry.example.com/team")
    return text


def image(text: str) -> str:
    """The reference of a container image."""
    if not _IMAGE.fullmatch(text):
        raise ArgumentTypeError(f"{quoted(text)} is no image; write it as registry.example.com/team/NAME:TAG")
    return text


def name(text: str) -> str:
    """A name of at most 128 letters, digits, '.', '_' and '-'."""
    if not _NAME.fullmatch(text):
        raise ArgumentTypeError(f"{quoted(text)} is no name: it has 1–128 letters, digits, '.', '_' and '-'")
    return text


def object_name(text: str) -> str:
    """The name of a Kubernetes object."""
    if not _OBJECT_NAME.fullmatch(text):
        raise ArgumentTypeError(f"{quoted(text)} is no name in Kubernetes: it has 1–63 small letters, digits, '-' and '.'")
    return text


def quantity(text: str) -> str:
    """A Kubernetes quantity, such as 500m or 2Gi."""
    if not _QUANTITY.fullmatch(text):
        raise ArgumentTypeError(f"{quoted(text)} is no quantity; write it as 500m, 2 or 2Gi")
    return text


def digest(text: str) -> str:
    """A SHA-256 in hex, or empty."""
    if not re.fullmatch(r"([0-9a-f]{64})?", text):
        raise ArgumentTypeError(f"{quoted(text)} is no SHA-256; it has 64 hex digits")
    return text
