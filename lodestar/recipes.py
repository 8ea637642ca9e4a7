"""Named runs: a recipe is a function returning a complete value; a variant replaces what differs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from lodestar.config import (
    LEARNT_FAMILIES,
    CountedFamily,
    DataConfig,
    LearntFamily,
    ModelConfig,
    RankConfig,
    RateConfig,
    Recipe,
    TrainConfig,
    override,
    parse_overrides,
)
from lodestar.errors import ConfigError


def sasrec() -> Recipe:
    """A causal Transformer judged on each user's last item."""
    return Recipe(
        name="sasrec",
        model=ModelConfig(layers=1, neighbours=128, max_length=100, dropout=0.3),
        train=TrainConfig(
            start="cooccurrence", refit=True, epochs=20, batch_tokens=2048, learning_rate=3e-3, label_smoothing=0.1, order_jitter=2.0
        ),
    )


def described() -> Recipe:
    """SASRec over items that are known by their words, categories and tags too: for catalogues where most items were rarely taken."""
    return _beside("described", replace(sasrec().model, words=True))


def ranked() -> Recipe:
    """SASRec whose best hundred a ranker puts in their last order, by what is counted of users and items and what is written of items."""
    return replace(sasrec(), name="ranked", rank=RankConfig(candidates=100))


def rated() -> Recipe:
    """SASRec whose lists say what the user would rate each item, for logs with ratings."""
    return replace(sasrec(), name="rated", rate=RateConfig(dim=20))


def gsasrec() -> Recipe:
    """SASRec that learns from drawn items by a calibrated loss: for catalogues too large for a full softmax."""
    return _beside("gsasrec", sasrec().model, loss="gbce", num_negatives=1024, epochs=30, label_smoothing=0.0)


def bert4rec() -> Recipe:
    """A Transformer that looks both ways and fills in hidden items."""
    return _beside("bert4rec", _like_sasrec("bert4rec"), epochs=40)


def hstu() -> Recipe:
    """Gated attention that adds up: how often something comes counts."""
    return _beside("hstu", _like_sasrec("hstu"))


def hstu_timed() -> Recipe:
    """HSTU that looks at the time between items too."""
    return _beside("hstu_timed", replace(hstu().model, timed=True))


def gru() -> Recipe:
    """A state carried from item to item."""
    return _beside("gru", _like_sasrec("gru"))


def lstm() -> Recipe:
    """A state with a longer memory, taught as in a first course: taken or not, Adam at 0.001, ten epochs, 64 histories a step."""
    shape = _like_sasrec("lstm")
    return _beside(
        "lstm", shape, loss="bce", epochs=10, learning_rate=1e-3, batch_tokens=64 * shape.max_length, label_smoothing=0.0, order_jitter=0.0
    )


def caser() -> Recipe:
    """Filters over the last items, as over a picture."""
    return _beside("caser", _like_sasrec("caser"))


def two_tower() -> Recipe:
    """Means of the history towards items that are known by their words too: new items are ranked from the first day."""
    return _beside("two_tower", _like_sasrec("two_tower", words=True))


def content() -> Recipe:
    """From what is written of the history to a softmax over items."""
    return _beside("content", _like_sasrec("content", words=True))


def _like_sasrec(family: LearntFamily, *, words: bool = False) -> ModelConfig:
    return replace(sasrec().model, family=family, words=words)


def _beside(name: str, model: ModelConfig, **train: Any) -> Recipe:
    """What differs from `sasrec`, so that figures tell encoders apart and not how they were taught."""
    return replace(sasrec(), name=name, model=model, train=replace(sasrec().train, **train))


def shop() -> Recipe:
    """A small causal Transformer and a ranker for the simulated shop, judged on the last days of the log."""
    return Recipe(
        name="shop",
        data=DataConfig(split="time"),
        model=ModelConfig(layers=2, neighbours=128, max_length=50, dropout=0.3),
        train=TrainConfig(
            start="cooccurrence", refit=True, epochs=30, patience=4, batch_tokens=2048, learning_rate=8e-3, label_smoothing=0.1
        ),
        rank=RankConfig(candidates=100),
    )


def tiny() -> Recipe:
    """Seconds on a laptop: for trying the pipeline and for tests."""
    return replace(
        sasrec(),
        name="tiny",
        data=DataConfig(split="leave_one_out", min_interactions=20),
        model=ModelConfig(dim=16, layers=1, heads=1, max_length=20),
        train=TrainConfig(epochs=2, patience=1, validate_every=1),
    )


def popularity() -> Recipe:
    """What most users took, of all time or lately: the floor."""
    return _closed_form("popularity", 2)


def item_knn() -> Recipe:
    """Items with the same users: the sum of cosines with the history's items."""
    return _closed_form("item_knn", 1024)


def jaccard() -> Recipe:
    """Items with the same users: the share of users of either who took both."""
    return _closed_form("jaccard", 256)


def pearson() -> Recipe:
    """Items with the same users: how taking one goes with taking the other."""
    return _closed_form("pearson", 256)


def cooccurrence() -> Recipe:
    """What is taken soon after the last items: fits in seconds, hard to beat."""
    return _closed_form("cooccurrence", 1024)


def ease() -> Recipe:
    """Every item foretold from all others by one linear map."""
    return _closed_form("ease", 1024)


def graph_filter() -> Recipe:
    """A history smoothed on the graph of users and items."""
    return _closed_form("graph_filter", 1024)


def normalised_ease() -> Recipe:
    """EASE with popular items and busy users evened out, kept by each item's strongest neighbours."""
    return _closed_form("normalised_ease", 256)


def ials() -> Recipe:
    """A vector for each user and item, by turns; new histories are folded in exactly."""
    return _closed_form("ials", 128)


def blend() -> Recipe:
    """What two models of sequences, two of sets and counted neighbours find, with weights learnt on the validation items."""
    model = replace(sasrec().model, family="blend", parts=("sasrec", "two_tower", "ials", "graph_filter"))
    return replace(sasrec(), name="blend", model=model)


def _closed_form(family: CountedFamily, dim: int) -> Recipe:
    return Recipe(name=family, model=ModelConfig(family=family, dim=dim))


RECIPES: dict[str, Callable[[], Recipe]] = {
    made.__name__: made
    for made in (
        *(sasrec, shop, tiny, described, ranked, rated, gsasrec, bert4rec, hstu, hstu_timed, gru, lstm, caser, two_tower, content),
        *(popularity, item_knn, jaccard, pearson, cooccurrence, ease, graph_filter, normalised_ease, ials, blend),
    )
}
SIZED = tuple(name for name, made in RECIPES.items() if made().model.family in LEARNT_FAMILIES and made is not tiny)
SIZES: dict[str, dict[str, Any]] = {"m": {"dim": 128, "layers": 2, "heads": 4}, "l": {"dim": 256, "layers": 4, "heads": 8}}
# A million events and a GPU carry what is larger: long histories, and steps that fill it.
LARGER_MODEL: dict[str, Any] = {"max_length": 200}
LARGER_TRAIN: dict[str, Any] = {
    "epochs": 60,
    "batch_tokens": 16384,
    "learning_rate": 2e-3,
    "order_jitter": 0.0,
    "precision": "bf16",
    "validate_every": 3,
}

# HR@10 and NDCG@10 on MovieLens-100K, the last item of each user, through the whole run.
MEASURED: dict[str, tuple[float, float]] = {
    "popularity": (0.0859, 0.0439),
    "item_knn": (0.1103, 0.0570),
    "jaccard": (0.1039, 0.0529),
    "pearson": (0.1050, 0.0519),
    "ease": (0.1453, 0.0712),
    "normalised_ease": (0.1506, 0.0750),
    "ials": (0.1485, 0.0770),
    "graph_filter": (0.1538, 0.0809),
    "lstm": (0.2174, 0.1171),
    "cooccurrence": (0.2206, 0.1180),
    "content": (0.2344, 0.1274),
    "described": (0.2333, 0.1253),
    "gsasrec": (0.2322, 0.1253),
    "bert4rec": (0.2460, 0.1287),
    "gru": (0.2481, 0.1309),
    "hstu": (0.2407, 0.1317),
    "hstu_timed": (0.2471, 0.1347),
    "caser": (0.2439, 0.1329),
    "two_tower": (0.2513, 0.1348),
    "ranked": (0.2481, 0.1389),
    "rated": (0.2471, 0.1348),
    "sasrec": (0.2471, 0.1348),
    "blend": (0.2450, 0.1404),
}


def recipe(name: str) -> Recipe:
    """The recipe of that name, or a larger one such as `sasrec-m`; an unknown name is an error that suggests the nearest."""
    plain, _, size = name.partition("-")
    if plain not in RECIPES or (size and (size not in SIZES or plain not in SIZED)):
        near = get_close_matches(name, [*RECIPES, *(f"{one}-{size}" for one in SIZED for size in SIZES)], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no recipe {name!r}{hint} There are: {', '.join(sorted(RECIPES))}; {', '.join(SIZED)} also as NAME-m and NAME-l")
    small = RECIPES[plain]()
    if not size:
        return small
    model = replace(small.model, **SIZES[size], **LARGER_MODEL)
    return replace(small, name=name, model=model, train=replace(small.train, **LARGER_TRAIN))


def configured(name: str, overrides: str | Mapping[str, Any]) -> Recipe:
    """The named recipe with overrides applied: a JSON object as text, or as Pipelines gives it to a step, without whole numbers."""
    return override(recipe(name), overrides_text(overrides))


def merge_overrides(texts: Sequence[str]) -> str:
    """Several overrides as one: a value that comes again replaces the one before; ConfigError E180 where one is no JSON object."""
    merged: dict[str, Any] = {}
    for changes in map(parse_overrides, texts):
        for section, values in changes.items():
            before = merged.get(section)
            merged[section] = {**before, **values} if isinstance(before, dict) and isinstance(values, dict) else values
    return json.dumps(merged)


def overrides_text(overrides: str | Mapping[str, Any]) -> str:
    """Overrides as a JSON text."""
    return overrides if isinstance(overrides, str) else json.dumps(_whole(overrides), sort_keys=True)


def _whole(value: Any) -> Any:
    """The value with 3 in place of 3.0, wherever it stands."""
    if isinstance(value, Mapping):
        return {key: _whole(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_whole(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
