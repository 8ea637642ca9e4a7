"""Markdown of generated pages: tables, and paragraphs that break at 120 characters."""

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120


def paragraph(text: str) -> str:
    """Text of any width as a paragraph of lines of at most 120 characters; code in backticks stays on one line."""
    kept = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\0"), " ".join(text.split()))
    return textwrap.fill(kept, WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ") + "\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a row of headings; cells hold Markdown, in which `|` is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|').strip() for cell in line)} |\n" for line in lines)


def code(*texts: object) -> str:
    """Texts as code, separated by commas."""
    return ", ".join(f"`{text}`" for text in texts)


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop, for cells that come from help texts."""
    plain = " ".join(text.split())
    return plain if not plain else f"{plain[0].upper()}{plain[1:]}{'' if plain[-1] in '.?!…' else '.'}"
