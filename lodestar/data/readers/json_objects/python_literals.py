"""Python dictionaries, one on each line, as JSON objects: `{'early_access': False}`. No code runs: only literals are evaluated."""

import ast
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lodestar.data.contract.rules import MAX_VALUE_BYTES
from lodestar.data.readers.json_objects.lines import SHOWN_BYTES, Block, OnMalformed
from lodestar.data.readers.source import Malformed

BLANKS = " \t\r\n"  # of a line that counts as empty; Python strips other control characters as well
_NOT_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def parse_literal(text: str) -> Any:
    """The value of a Python literal; None for any other text, and for one of more than MAX_VALUE_BYTES: its tree takes 100 times that."""
    if len(text) > MAX_VALUE_BYTES:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of backslashes that escape nothing
            tree = ast.parse(text.strip(), mode="eval")
            return ast.literal_eval(tree) if _has_unique_keys(tree.body) else None
    except _NOT_LITERAL:
        return None


def _has_unique_keys(node: ast.AST) -> bool:
    """Whether no key of a dictionary is named twice: readers would take different ones."""
    keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
    return len(keys) == len(set(keys))


def to_json_lines(blocks: Iterator[Block], on_malformed: OnMalformed) -> Iterator[Block]:
    """The lines of blocks as JSON objects; `on_malformed` is called with each that is no dictionary of values that JSON has."""
    for block in blocks:
        numbers, objects = list[int](), list[str]()
        for number, line in zip(block.numbers.tolist(), block.lines.to_pylist(), strict=True):
            if found := _json(line):
                numbers.append(number)
                objects.append(found)
            elif line.strip(BLANKS):
                on_malformed(Malformed(line=number, text=line[:SHOWN_BYTES].strip(), message="the line is no Python dictionary"))
        yield Block(block.numbers[[]] if not numbers else pa.array(numbers).to_numpy(), pa.array(objects, pa.string()))


def _json(line: str) -> str:
    """A dictionary's text as JSON, empty for any other text."""
    value = parse_literal(line)
    try:
        return json.dumps(value, allow_nan=False) if isinstance(value, dict) else ""
    except _NOT_LITERAL:
        return ""
