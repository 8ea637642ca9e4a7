"""Page of the features: every view, feature, service and cross feature, with types, windows, units and defaults."""

from docs.generate.markdown import code, paragraph, sentence, table
from lodestar import schema
from lodestar.schema import crosses, ranker_inputs
from lodestar.schema.features import Count, Feature, View

INTRODUCTION = """Every feature, as `lodestar/schema/features.py` declares it. [features.md](../features.md) says how a feature is added,
built, tested and served."""

COUNTS = """Counts are of positive feedback ([tables.md](tables.md#event-types)) where no event type is named, and in
`query_stats` of events whose search text is the query. They change at whole hours,
and are scaled to 0–1: the logarithm of the count, as a share of the highest in training."""
CROSS = """Computed on demand from the views above, with `lodestar/schema/crosses.py`; a missing value counts as 0."""
KINDS = {"f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64", "text": "text", "bytes": "bytes"}


def page() -> str:
    """The page as Markdown."""
    parts = [f"# Feature views\n\n{paragraph(INTRODUCTION)}\n{paragraph(COUNTS)}", *map(_view, schema.VIEWS.values())]
    return "\n".join([*parts, _crosses(), _services()])


def _view(view: View) -> str:
    push = f" A stream may push rows ({code('store.push')})." if view.accepts_push else ""
    head = paragraph(f"{view.description} Entity: {code(view.entity)}.{push}")
    rows = [
        (
            code(feature.name),
            _kind(feature.kind),
            feature.unit if isinstance(feature, Feature) else "",
            _default(feature),
            _meaning(feature),
        )
        for feature in view.features
    ]
    return f"## {view.name}\n\n{head}\n{table(('feature', 'type', 'unit', 'default', 'meaning'), rows)}"


def _kind(kind: str) -> str:
    return KINDS.get(kind) or f"list of {KINDS[kind.removesuffix('s')]}{'s' if kind == 'texts' else ''}"


def _default(feature: Feature | Count) -> str:
    return "`null`" if feature.default is None else code(feature.default)


def _meaning(feature: Feature | Count) -> str:
    if isinstance(feature, Feature):
        return sentence(feature.description) + (" Personal data." if feature.pii else "")
    types = "" if feature.types == schema.POSITIVE else f" of type {code(*sorted(feature.types))}"
    if feature.num_half_lives:
        end = feature.window_h * (feature.num_half_lives + 1)
        return f"Events{types}, decayed: the weight halves every {feature.window_h} h and is 0 after {end} h."
    return f"Events{types} in the last {feature.window_h} h."


def _crosses() -> str:
    rows = [(code(name), "float32", sentence(meaning)) for name, meaning in crosses.DESCRIPTIONS.items()]
    return f"## {schema.CROSS_VIEW}\n\n{paragraph(CROSS)}\n{table(('feature', 'type', 'meaning'), rows)}"


def _services() -> str:
    rows = [(code(name), code(*views)) for name, views in schema.SERVICES.items()]
    told = f"The ranker's inputs are, in this order, {code(*ranker_inputs.NAMES)}."
    return f"## Feature services\n\n{table(('service', 'views'), rows)}\n{paragraph(told)}"
