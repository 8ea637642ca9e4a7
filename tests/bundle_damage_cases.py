"""The shapes of damage that are tried, by name: the code of each one's refusal, and what does it."""

from functools import partial

import numpy as np

from lodestar import schema
from lodestar.bundle import bundle
from lodestar.bundle.ranker import RANKER_GRAPH, RANKER_ROWS
from lodestar.bundle.ratings import RATINGS_FILE
from tests.bundle_damage import (
    NUM_ITEMS,
    Damage,
    archive,
    array,
    bomb,
    changed,
    claimed,
    counts,
    elsewhere,
    endless,
    flat,
    foldered,
    graph,
    huge,
    info,
    larger,
    linked,
    month_for_day,
    numberless,
    operator,
    opset,
    pickled,
    piped,
    renamed,
    slow,
    spoilt,
    text_of,
    truncated,
    window,
    without,
    written,
)

E150, E156, E181, E182, E183, E184 = "E150", "E156", "E181", "E182", "E183", "E184"
NPZ = (bundle.TABLE, bundle.ITEMS, bundle.NEIGHBOURS, RANKER_ROWS, RATINGS_FILE)
ALL = (bundle.ENCODER, RANKER_GRAPH, *NPZ)

CUT: dict[str, tuple[str, Damage]] = {
    f"{name} cut off at {share:.0%}{', sealed' * sealed}": (
        (E183 if name.endswith("onnx") else E181) if sealed else E156,
        partial(truncated, name=name, share=share, sealed=sealed),
    )
    for name in ALL
    for share in (0.0, 0.5, 0.99)
    for sealed in (False, True)
}
DAMAGES: dict[str, tuple[str, Damage]] = {
    "bundle.json cut off": (E156, partial(truncated, name=bundle.INFO, share=0.9, sealed=False)),
    "bundle.json of a list": (E156, lambda root: (root / bundle.INFO).write_text("[]")),
    "bundle.json nested without end": (E156, lambda root: (root / bundle.INFO).write_text('{"a":' + "[" * 200_000)),
    "a huge bundle.json": (E156, lambda root: (root / bundle.INFO).write_text('{"a": "' + "x" * (2 << 20) + '"}')),
    "bundle.json is a link": (E156, partial(linked, name=bundle.INFO)),
    "a missing field": (E182, partial(without, name="dim")),
    "a field too many": (E182, partial(info, surprise=1)),
    "a width in letters": (E182, partial(info, dim="8")),
    "a truth for a width": (E182, partial(info, dim=True)),
    "an endless history": (E182, partial(info, max_length=10**9)),
    "no history": (E182, partial(info, max_length=0)),
    "an unknown precision": (E182, partial(info, precision="fp1")),
    "a precision of another type": (E182, partial(info, precision=["fp32"])),
    "metrics that are none": (E182, partial(info, metrics={"ndcg": "high"})),
    "files in a list": (E182, partial(info, files=["table.npz"])),
    "a file outside": (E182, partial(info, files={"../../etc/passwd": "0" * 64})),
    "no files": (E182, partial(info, files={})),
    "another width": (E183, partial(info, dim=9)),
    "more items than rows": (E182, partial(info, num_items=13)),
    "another precision": (E182, partial(info, precision="int8")),
    "seconds that the encoder does not take": (E183, partial(info, use_time_gaps=True)),
    "another version's columns": (E150, partial(info, schema_hash="another")),
    "features without names": (E150, partial(without, name="inputs")),
    "a count of a month where a day's was": (E150, partial(counts, change=month_for_day)),
    "a count of another window": (E150, partial(counts, change=window)),
    "a count too few": (E183, partial(counts, change=lambda named: named.pop())),
    "numbers in place of features": (E182, partial(info, inputs={"history": [1], "counts": []})),
    "a link to another file": (E156, linked),
    "a pipe": (E156, piped),
    "a folder for a file": (E156, foldered),
    "a table with NaN": (E182, partial(array, name=bundle.TABLE, key="codes", change=partial(spoilt, value=np.nan))),
    "a table with infinity": (E182, partial(array, name=bundle.TABLE, key="codes", change=partial(spoilt, value=np.inf))),
    "a scale with NaN": (E182, partial(array, name=bundle.TABLE, key="scale", change=partial(spoilt, value=np.nan))),
    "a table of other rows": (E182, partial(array, name=bundle.TABLE, key="codes", change=lambda rows: rows[:-1])),
    "a flat table": (E182, partial(array, name=bundle.TABLE, key="codes", change=np.ravel)),
    "a table of doubles": (E182, partial(array, name=bundle.TABLE, key="codes", change=lambda rows: rows.astype(np.float64))),
    "a table of texts": (E181, partial(array, name=bundle.TABLE, key="codes", change=lambda rows: rows.astype(str))),
    "vectors so long that scores overflow": (
        E182,
        partial(array, name=bundle.TABLE, key="codes", change=lambda rows: np.sign(rows) * np.float32(3e38)),
    ),
    "a table without its scale": (
        E182,
        partial(changed, name=bundle.TABLE, change=lambda found: {"codes": found["codes"], "dim": found["dim"]}),
    ),
    "popularity with NaN": (E182, partial(array, name=bundle.ITEMS, key="popularity", change=partial(spoilt, value=np.nan))),
    "popularity of fewer items": (E182, partial(array, name=bundle.ITEMS, key="popularity", change=lambda values: values[1:])),
    "two items of one id": (E182, partial(text_of, key=schema.ITEM_ID, texts=["i0", "i0", *(f"i{row}" for row in range(2, NUM_ITEMS))])),
    "an item without an id": (E182, partial(text_of, key=schema.ITEM_ID, texts=["", *(f"i{row}" for row in range(1, NUM_ITEMS))])),
    "fewer titles than items": (E182, partial(text_of, key=schema.TITLE, texts=["one"])),
    "ids that are no UTF-8": (E181, partial(array, name=bundle.ITEMS, key=schema.ITEM_ID, change=lambda text: text | 0x80)),
    "ids that end beyond their end": (E181, partial(array, name=bundle.ITEMS, key=f"{schema.ITEM_ID}_ends", change=lambda ends: ends + 1)),
    "ids that end before they begin": (
        E181,
        partial(array, name=bundle.ITEMS, key=f"{schema.ITEM_ID}_ends", change=lambda ends: ends[::-1]),
    ),
    "neighbours beyond the catalogue": (
        E182,
        partial(array, name=bundle.NEIGHBOURS, key="neighbour", change=partial(spoilt, value=NUM_ITEMS)),
    ),
    "neighbours of fewer items": (E182, partial(array, name=bundle.NEIGHBOURS, key="neighbour", change=lambda rows: rows[1:])),
    "neighbours with NaN": (E182, partial(array, name=bundle.NEIGHBOURS, key="similarity_scale", change=partial(spoilt, value=np.nan))),
    "neighbours whose points overflow": (
        E182,
        partial(array, name=bundle.NEIGHBOURS, key="similarity_scale", change=partial(spoilt, value=3e38)),
    ),
    "neighbours of a growing past": (E182, partial(array, name=bundle.NEIGHBOURS, key="recent_and_decay", change=lambda _: [5, 1e30])),
    "one vector of numbers near the largest": (
        E182,
        partial(array, name=bundle.TABLE, key="codes", change=partial(spoilt, value=3e38)),
    ),
    "neighbours of no weight that is a number": (E182, partial(array, name=bundle.NEIGHBOURS, key="weight", change=lambda _: [np.nan])),
    "neighbours without a weight": (E182, partial(array, name=bundle.NEIGHBOURS, key="weight", change=lambda _: np.zeros(0))),
    "neighbours of an endless history": (E182, partial(array, name=bundle.NEIGHBOURS, key="recent_and_decay", change=lambda _: [1e9, 0.5])),
    "a ranker of fewer items": (E182, partial(array, name=RANKER_ROWS, key="vectors", change=lambda rows: rows[1:])),
    "a ranker of another width": (E183, partial(array, name=RANKER_ROWS, key="vectors", change=lambda rows: rows[:, 1:])),
    "a ranker with NaN": (E182, partial(array, name=RANKER_ROWS, key="vectors", change=partial(spoilt, value=np.nan))),
    "a ranker of endless candidates": (E182, partial(array, name=RANKER_ROWS, key="candidates_and_length", change=lambda _: [1 << 40, 5])),
    "a ranker that looks at nothing": (E182, partial(array, name=RANKER_ROWS, key="candidates_and_length", change=lambda _: [0, 0])),
    "ratings of fewer items": (E182, partial(array, name=RATINGS_FILE, key="item_bias", change=lambda bias: bias[1:])),
    "ratings with NaN": (E182, partial(array, name=RATINGS_FILE, key="user_vectors", change=partial(spoilt, value=np.nan))),
    "ratings of no users": (E182, partial(array, name=RATINGS_FILE, key="keys", change=lambda keys: keys[:0])),
    "ratings of users out of order": (E182, partial(array, name=RATINGS_FILE, key="keys", change=lambda keys: keys[::-1])),
    "ratings of another width": (E182, partial(array, name=RATINGS_FILE, key="item_vectors", change=lambda rows: rows[:, 1:])),
    "ratings on no scale": (E182, partial(array, name=RATINGS_FILE, key="scale", change=lambda _: [3.0, 5.0, 1.0])),
    "an array of terabytes": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": claimed((1 << 20, 1 << 22))})),
    "an array of negative length": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": claimed((-1, 8))})),
    "a pickled array": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": pickled()})),
    "an array of structures": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": claimed((0,), "<M8[us]")})),
    "a file that is no array": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": b"not an array"})),
    "a bomb of zeros": (E181, bomb),
    "a file that is no archive": (E181, partial(written, name=bundle.TABLE, content=b"PK" + bytes(100))),
    "a graph that is none": (E183, partial(written, name=bundle.ENCODER, content=bytes(range(256)))),
    "a graph with an endless loop": (E183, partial(graph, change=endless)),
    "a graph that makes terabytes": (E184, partial(graph, change=huge)),
    "a graph with constants in another file": (E183, partial(graph, change=elsewhere)),
    "a graph with a constant larger than it": (E183, partial(graph, change=larger)),
    "a graph with an unknown operator": (E183, partial(graph, change=partial(operator, kind="Frobnicate"))),
    "a graph with another's operator": (E183, partial(graph, change=partial(operator, kind="Gelu", domain="com.microsoft"))),
    "a graph of another operator set": (E183, partial(graph, change=partial(opset, version=99))),
    "a graph of an older operator set": (E183, partial(graph, change=partial(opset, version=9))),
    "a graph with another input": (E183, partial(graph, change=partial(renamed, old="history", new="past"))),
    "a graph with another output": (E183, partial(graph, change=partial(renamed, old="user", new="person"))),
    "a graph of another rank": (E183, partial(graph, change=flat)),
    "a graph with weights of NaN": (E184, partial(graph, change=numberless)),
    "a ranker with an endless loop": (E183, partial(graph, change=partial(operator, kind="Loop"), name=RANKER_GRAPH)),
}
SLOW: dict[str, tuple[str, Damage]] = {"a graph of hours": (E184, partial(graph, change=slow))}
