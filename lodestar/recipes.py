"""Named runs: a recipe is a function returning a complete value; a variant replaces what differs."""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches

from lodestar.config import CountedFamily, DataConfig, ModelConfig, Recipe, TrainConfig, override
from lodestar.errors import ConfigError


def sasrec() -> Recipe:
    """A causal Transformer judged on each user's last item."""
    return Recipe(
        name="sasrec",
        model=ModelConfig(layers=1, memory_dim=128, max_length=100, dropout=0.3),
        train=TrainConfig(
            start="cooccurrence", refit=True, epochs=20, batch_tokens=2048, learning_rate=3e-3, label_smoothing=0.1, order_jitter=2.0
        ),
    )


def shop() -> Recipe:
    """A small causal Transformer for the simulated shop, judged on the last days of the log."""
    return Recipe(
        name="shop",
        data=DataConfig(split="time"),
        model=ModelConfig(layers=2, memory_dim=128, max_length=50, dropout=0.3),
        train=TrainConfig(
            start="cooccurrence", refit=True, epochs=30, patience=4, batch_tokens=2048, learning_rate=8e-3, label_smoothing=0.1
        ),
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
    """What most users took: the floor."""
    return _closed_form("popularity", 2)


def item_knn() -> Recipe:
    """Items with the same users: the sum of cosines with the history's items."""
    return _closed_form("item_knn", 1024)


def cooccurrence() -> Recipe:
    """What is taken soon after the last items: fits in seconds, hard to beat."""
    return _closed_form("cooccurrence", 1024)


def ease() -> Recipe:
    """Every item foretold from all others by one linear map."""
    return _closed_form("ease", 1024)


def graph_filter() -> Recipe:
    """A history smoothed on the graph of users and items."""
    return _closed_form("graph_filter", 1024)


def ials() -> Recipe:
    """A vector for each user and item, by turns; new histories are folded in exactly."""
    return _closed_form("ials", 128)


def _closed_form(family: CountedFamily, dim: int) -> Recipe:
    return Recipe(name=family, model=ModelConfig(family=family, dim=dim))


RECIPES: dict[str, Callable[[], Recipe]] = {
    made.__name__: made for made in (sasrec, shop, tiny, popularity, item_knn, cooccurrence, ease, graph_filter, ials)
}

# HR@10 and NDCG@10 on MovieLens-100K, the last item of each user, through the whole run.
MEASURED: dict[str, tuple[float, float]] = {
    "popularity": (0.0859, 0.0439),
    "item_knn": (0.1103, 0.0570),
    "ease": (0.1453, 0.0712),
    "graph_filter": (0.1538, 0.0809),
    "ials": (0.1485, 0.0770),
    "cooccurrence": (0.2206, 0.1180),
    "sasrec": (0.2386, 0.1305),
}


def recipe(name: str) -> Recipe:
    """The recipe of that name; an unknown name is an error that suggests the nearest."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no recipe {name!r}{hint} There are: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()


def configured(name: str, overrides: str) -> Recipe:
    """The named recipe with a JSON object of overrides applied."""
    return override(recipe(name), overrides)
