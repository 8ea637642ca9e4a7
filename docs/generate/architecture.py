"""Picture of the rooms in layers, drawn from the imports: every arrow points down."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from docs.generate.imports import EDGES, FOUNDATION, LIBRARY, Imports, Room, imports, levels, reduced, rooms

WIDTH, MARGIN, PADDING = 1000, 16, 14
BOX_WIDTH, BOX_HEIGHT, ROW_HEIGHT = 172, 72, 124
TEXT_COLUMNS, TEXT_LINES, LINE_HEIGHT = 26, 3, 13.5
HEAD, LABEL_RADIUS, LABEL_AT = 9, 11, 0.4
# Centre of each room, from left to right; its height follows from the imports.
CENTRES = {
    **{"cli": 500, "pipelines": 500, "components": 500, "serving": 102, "feature_repo": 898},
    **{"compression": 304, "tuning": 500, "evaluation": 304, "training": 500, "monitoring": 696},
    **{"models": 456, "features": 660, "engine": 304, "data": 558, "bundle": 431},
}
LIGHT = {
    "page": "#ffffff",
    "ink": "#1f2328",
    "soft": "#59636e",
    "line": "#8c959f",
    "inner": "#f6f8fa",
    "room": "#ddf4ff",
    "edge": "#fff1e5",
}
DARK = {"page": "#0d1117", "ink": "#f0f6fc", "soft": "#9198a1", "line": "#6e7681", "inner": "#161b22", "room": "#0c2d4a", "edge": "#3d2409"}
STROKES = {"room": ("#0969da", "#4493f8"), "edge": ("#bc4c00", "#db6d28")}


@dataclass(frozen=True, kw_only=True)
class Box:
    """A drawn room: left and top, the room, and whether it is an edge."""

    x: float
    y: float
    room: Room

    @property
    def kind(self) -> str:
        """CSS class: `edge` of a platform, or `room` of the library."""
        return "edge" if self.room.name in EDGES else "room"


def picture() -> str:
    """The picture as SVG, for light and dark pages."""
    edges, found = imports(), rooms()
    upper = {edge: count for edge, count in edges.items() if not set(edge) & set(FOUNDATION)}
    height_of = levels(upper)
    if unknown := height_of.keys() - CENTRES.keys():
        raise ValueError(f"{', '.join(sorted(unknown))} has no place in the picture: add it to CENTRES, or to FOUNDATION in imports.py")
    top = max(height_of.values())
    boxes = {
        name: Box(x=CENTRES[name] - BOX_WIDTH / 2, y=MARGIN + (top - level) * ROW_HEIGHT, room=found[name])
        for name, level in height_of.items()
    }
    base_y = MARGIN + (top + 1) * ROW_HEIGHT
    parts = [_container(boxes.values(), base_y), *_arrows(boxes, reduced(upper)), *map(_box, boxes.values()), *_foundation(found, base_y)]
    return svg((WIDTH, base_y + 88 + MARGIN), "Rooms of Lodestar in layers, with how many files of one room import another", parts)


def svg(size: tuple[float, float], title: str, parts: Iterable[str]) -> str:
    """An SVG of a width and a height, with the colours of light and dark pages."""
    width, height = size
    light, dark = (_style(colours, side) for side, colours in enumerate((LIGHT, DARK)))
    style = f"text{{font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}}{light}@media(prefers-color-scheme:dark){{{dark}}}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img">'
    page = f'<rect class="page" width="{width:g}" height="{height:g}" rx="10"/>'
    return "\n".join([head, f"<title>{title}</title>", f"<style>{style}</style>", page, *parts, "</svg>"]) + "\n"


def _style(colours: Mapping[str, str], side: int) -> str:
    rules = {
        ".page": f"fill:{colours['page']}",
        ".inner": f"fill:{colours['inner']};stroke:{colours['line']};stroke-dasharray:4 4",
        ".arrow": f"fill:none;stroke:{colours['line']}",
        ".head": f"fill:{colours['line']}",
        ".label": f"fill:{colours['page']};stroke:{colours['line']}",
        ".name": f"fill:{colours['ink']};font-size:15px;font-weight:600",
        ".text": f"fill:{colours['soft']};font-size:11.5px",
        ".empty": f"fill:none;stroke:{colours['inner']}",
        ".label-text": f"fill:{colours['ink']};font-size:13px",
        ".count": f"fill:{colours['ink']};font-size:11px",
        **{f".{kind}": f"fill:{colours[kind]};stroke:{strokes[side]};stroke-width:1.2" for kind, strokes in STROKES.items()},
    }
    return "".join(f"{name}{{{rule}}}" for name, rule in rules.items())


def _container(boxes: Iterable[Box], base_y: float) -> str:
    """The outline of the library, around its rooms and the foundation."""
    inner = [box for box in boxes if box.kind == "room"]
    x, y = min(box.x for box in inner) - PADDING, min(box.y for box in inner) - PADDING
    width, bottom = max(box.x for box in inner) + BOX_WIDTH + PADDING - x, base_y - PADDING
    outline = f'<rect class="inner" x="{x:g}" y="{y:g}" width="{width:g}" height="{bottom - y:g}" rx="12"/>'
    return (
        f'{outline}<text class="text" x="{x + PADDING:g}" y="{bottom - PADDING:g}">{LIBRARY}/: the library, which knows no platform</text>'
    )


def _box(box: Box) -> str:
    lines = _lines(box.room)
    middle, first = box.x + BOX_WIDTH / 2, box.y + (BOX_HEIGHT - LINE_HEIGHT * len(lines)) / 2 + 5
    texts = "".join(_text("text", middle, first + 1 + LINE_HEIGHT * row, line) for row, line in enumerate(lines, start=1))
    shape = f'<rect class="{box.kind}" x="{box.x:g}" y="{box.y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9"/>'
    return shape + _text("name", middle, first, f"{box.room.name}/") + texts


def _text(kind: str, x: float, y: float, text: object) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="middle">{text}</text>'


def _lines(room: Room) -> list[str]:
    """The folders of a room in lines that fit its box, or its number of files."""
    lines: list[str] = []
    for folder in room.folders:
        joined = f"{lines[-1]} · {folder}" if lines else folder
        lines = [*lines[:-1], joined] if lines and len(joined) <= TEXT_COLUMNS else [*lines, folder]
    return lines[:TEXT_LINES] or [f"{room.num_files} files"]


def _arrows(boxes: Mapping[str, Box], edges: Imports) -> Iterable[str]:
    """A curve for each edge, with the number of files; ends are spread over the sides of a box in the order of the other ends."""
    for (one, other), count in edges.items():
        around = [edge for edge in edges if not _leaves_by_side(boxes, *edge)]
        x1 = _port(boxes, other, [source for source, target in edges if target == other], one)
        y1 = boxes[other].y - HEAD
        if _leaves_by_side(boxes, one, other):
            points = _side_curve(boxes[one], x1, y1)
        else:
            x0 = _port(boxes, one, [target for source, target in around if source == one], other)
            points = _curve(x0, boxes[one].y + BOX_HEIGHT, x1, y1)
        yield _arrow(points, count)


def _arrow(points: Sequence[tuple[float, float]], count: int) -> str:
    """A cubic curve through four control points with its head, and the count on it."""
    (x0, y0), (xa, ya), (xb, yb), (x1, y1) = points
    path = f"M{x0:g} {y0:g}C{xa:g} {ya:g} {xb:g} {yb:g} {x1:g} {y1:g}"
    weights = [(1 - LABEL_AT) ** (3 - k) * LABEL_AT**k * (1, 3, 3, 1)[k] for k in range(4)]
    x, y = (sum(weight * point[axis] for weight, point in zip(weights, points, strict=True)) for axis in (0, 1))
    line = f'<path class="arrow" stroke-width="{1 + min(count, 40) / 16:g}" d="{path}"/>'
    head = f'<path class="head" d="M{x1 - 4.5:g} {y1:g}h9l-4.5 {HEAD}z"/>'
    return f'{line}{head}<circle class="label" cx="{x:g}" cy="{y:g}" r="{LABEL_RADIUS}"/>{_text("count", x, y + 4, count)}'


def _leaves_by_side(boxes: Mapping[str, Box], one: str, other: str) -> bool:
    """Whether an arrow passes other rows, so that it leaves by the side of its box."""
    return boxes[other].y - boxes[one].y > ROW_HEIGHT and abs(CENTRES[other] - CENTRES[one]) > BOX_WIDTH


def _curve(x0: float, y0: float, x1: float, y1: float) -> Sequence[tuple[float, float]]:
    bend = (y1 - y0) / 2
    return (x0, y0), (x0, y0 + bend), (x1, y1 - bend), (x1, y1)


def _side_curve(box: Box, x1: float, y1: float) -> Sequence[tuple[float, float]]:
    x0 = box.x + BOX_WIDTH if x1 > box.x else box.x
    y0 = box.y + BOX_HEIGHT / 2
    return (x0, y0), (x0 + (x1 - x0) * 0.7, y0), (x1, y0), (x1, y1)


def _port(boxes: Mapping[str, Box], name: str, others: Sequence[str], other: str) -> float:
    ordered = sorted(others, key=CENTRES.__getitem__)
    step = min(40.0, (BOX_WIDTH - 40) / max(1, len(ordered)))
    return boxes[name].x + BOX_WIDTH / 2 + step * (ordered.index(other) - (len(ordered) - 1) / 2)


def _foundation(found: Mapping[str, Room], y: float) -> Iterable[str]:
    """The bottom of the picture: what every room imports, as small boxes."""
    names = [name for name in FOUNDATION if name in found]
    width = WIDTH - 2 * MARGIN
    yield f'<rect class="inner" x="{MARGIN}" y="{y:g}" width="{width}" height="88" rx="12"/>'
    yield f'<text class="text" x="{MARGIN + 14}" y="{y + 22:g}">{LIBRARY}/: the foundation, which every room may import</text>'
    step = (width - 28 + 10) / len(names)
    for index, name in enumerate(names):
        x = MARGIN + 14 + step * index
        label = f"{name}/" if found[name].is_folder else name
        middle = x + (step - 10) / 2
        yield f'<rect class="room" x="{x:g}" y="{y + 36:g}" width="{step - 10:g}" height="36" rx="7"/>'
        yield f'<text class="name" x="{middle:g}" y="{y + 59:g}" text-anchor="middle" style="font-size:13px">{label}</text>'
