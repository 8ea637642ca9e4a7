"""Recipes: named, complete configurations of a run, their sizes, their measured metrics, and overrides.

A recipe is a function that returns a `Recipe`; a variant replaces what differs. Its docstring is the line that `lodestar recipes` prints.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lodestar.config import (
    TRAINED_FAMILIES,
    ClosedFormFamily,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    RankerConfig,
    RatingsConfig,
    Recipe,
    TrainConfig,
    TrainedFamily,
    override,
)
from lodestar.errors import ConfigError
from lodestar.process.suggestions import unknown_name
from lodestar.schema.json_overrides import parse_overrides


def sasrec() -> Recipe:
    """SASRec (Kang & McAuley 2018): causal Transformer with full softmax; evaluated leave-one-out on each user's last item."""
    return Recipe(
        name="sasrec",
        model=ModelConfig(num_layers=1, num_neighbours=128, max_length=100, dropout=0.3),
        train=TrainConfig(
            item_init="cooccurrence", refit=True, epochs=20, batch_tokens=2048, learning_rate=3e-3, label_smoothing=0.1, order_jitter=2.0
        ),
    )


def sasrec_text() -> Recipe:
    """SASRec with item text (title, categories, tags): for catalogues where most items have few interactions."""
    return _variant("sasrec_text", replace(sasrec().model, use_text=True))


def sasrec_ranker() -> Recipe:
    """SASRec retrieves 100 candidates; a ranker (DIN, Zhou et al. 2018; DCN V2, Wang et al. 2021) reorders them by counts and item text."""
    return replace(sasrec(), name="sasrec_ranker", rank=RankerConfig(candidates=100))


def sasrec_ratings() -> Recipe:
    """SASRec with rating prediction (Macau, Simm et al. 2017) for each recommended item: for logs with ratings."""
    return replace(sasrec(), name="sasrec_ratings", rate=RatingsConfig(dim=20))


def gsasrec() -> Recipe:
    """SASRec with gBCE loss on sampled negatives (gSASRec, Petrov & Macdonald 2023): for catalogues too large for a full softmax."""
    return _variant("gsasrec", sasrec().model, loss="gbce", num_negatives=1024, epochs=30, label_smoothing=0.0)


def bert4rec() -> Recipe:
    """BERT4Rec (Sun et al. 2019): bidirectional Transformer trained to predict masked items."""
    return _variant("bert4rec", _like_sasrec("bert4rec"), epochs=40)


def hstu() -> Recipe:
    """HSTU (Zhai et al. 2024): pointwise gated attention without softmax, so repeated items add up."""
    return _variant("hstu", _like_sasrec("hstu"))


def hstu_timed() -> Recipe:
    """HSTU (Zhai et al. 2024) with time gaps: attention has a bias by the time between interactions."""
    return _variant("hstu_timed", replace(hstu().model, use_time_gaps=True))


def gru() -> Recipe:
    """GRU4Rec-style GRU (Hidasi et al. 2016): recurrent network over the history with full softmax."""
    return _variant("gru", _like_sasrec("gru"))


def lstm() -> Recipe:
    """LSTM baseline (Hochreiter & Schmidhuber 1997) with textbook settings: BCE, Adam at 1e-3, 10 epochs, 64 sequences a batch."""
    shape = _like_sasrec("lstm")
    return _variant(
        "lstm", shape, loss="bce", epochs=10, learning_rate=1e-3, batch_tokens=64 * shape.max_length, label_smoothing=0.0, order_jitter=0.0
    )


def caser() -> Recipe:
    """Caser (Tang & Wang 2018): horizontal and vertical convolutions over the last items."""
    return _variant("caser", _like_sasrec("caser"))


def two_tower() -> Recipe:
    """Two-tower model (Covington et al. 2016; Yi et al. 2019): pooled history against item id and text; ranks cold-start items."""
    return _variant("two_tower", _like_sasrec("two_tower", use_text=True))


def content() -> Recipe:
    """Content-based model (after Covington et al. 2016): text of the history's items through a tower to a softmax over items."""
    return _variant("content", _like_sasrec("content", use_text=True))


def _like_sasrec(family: TrainedFamily, *, use_text: bool = False) -> ModelConfig:
    return replace(sasrec().model, family=family, use_text=use_text)


def _variant(name: str, model: ModelConfig, **train: Any) -> Recipe:
    """`sasrec` with another encoder and a few changed hyperparameters, so that metrics compare encoders and not training setups."""
    return replace(sasrec(), name=name, model=model, train=replace(sasrec().train, **train))


def shop() -> Recipe:
    """SASRec and a ranker for the simulated shop, evaluated on a time split (the last days of the log)."""
    return Recipe(
        name="shop",
        data=DataConfig(split="time"),
        model=ModelConfig(num_layers=2, num_neighbours=128, max_length=50, dropout=0.3),
        train=TrainConfig(
            item_init="cooccurrence", refit=True, epochs=30, patience=4, batch_tokens=2048, learning_rate=8e-3, label_smoothing=0.1
        ),
        rank=RankerConfig(candidates=100),
    )


def tiny() -> Recipe:
    """Small SASRec that trains in seconds, released whatever the gate says: for tests and for trying the pipeline."""
    return replace(
        sasrec(),
        name="tiny",
        data=DataConfig(split="leave_one_out", min_interactions=20),
        model=ModelConfig(dim=16, num_layers=1, num_heads=1, max_length=20),
        train=TrainConfig(epochs=2, patience=1, validate_every=1),
        evaluation=EvaluationConfig(force=True),
    )


def popularity() -> Recipe:
    """Popularity (Ji et al. 2020): item interaction counts, of all time or of a recent window; the baseline to beat."""
    return _closed_form("popularity", 2)


def item_knn() -> Recipe:
    """Item-kNN with cosine similarity (Sarwar et al. 2001): sum of similarities with the history's items."""
    return _closed_form("item_knn", 1024)


def item_knn_jaccard() -> Recipe:
    """Item-kNN with Jaccard similarity: sum over the history's items of shared users over all users of either item."""
    return _closed_form("item_knn_jaccard", 256)


def item_knn_pearson() -> Recipe:
    """Item-kNN with Pearson correlation (Sarwar et al. 2001) of binary user columns."""
    return _closed_form("item_knn_pearson", 256)


def cooccurrence() -> Recipe:
    """Co-occurrence: items that often follow the last few within a window; fits in seconds, a strong baseline."""
    return _closed_form("cooccurrence", 1024)


def ease() -> Recipe:
    """EASE (Steck 2019): closed-form linear autoencoder that predicts every item from all others."""
    return _closed_form("ease", 1024)


def gf_cf() -> Recipe:
    """GF-CF (Shen et al. 2021): closed-form graph filter on the normalised user-item matrix."""
    return _closed_form("gf_cf", 1024)


def dan_ease() -> Recipe:
    """DAN-EASE (Park et al. 2025): EASE on a user- and item-normalised matrix, truncated to each item's top neighbours."""
    return _closed_form("dan_ease", 256)


def ials() -> Recipe:
    """Implicit ALS (iALS, Hu et al. 2008; Rendle et al. 2022): matrix factorisation; histories of new users are folded in exactly."""
    return _closed_form("ials", 128)


def blend() -> Recipe:
    """Ensemble of SASRec, two-tower, iALS, GF-CF and co-occurrence neighbours; weights fitted on the validation set."""
    model = replace(sasrec().model, family="blend", components=("sasrec", "two_tower", "ials", "gf_cf"))
    return replace(sasrec(), name="blend", model=model)


def _closed_form(family: ClosedFormFamily, dim: int) -> Recipe:
    return Recipe(name=family, model=ModelConfig(family=family, dim=dim))


RECIPES: dict[str, Callable[[], Recipe]] = {
    make.__name__: make
    for make in (
        *(sasrec, shop, tiny, sasrec_text, sasrec_ranker, sasrec_ratings, gsasrec, bert4rec, hstu, hstu_timed),
        *(gru, lstm, caser, two_tower, content),
        *(popularity, item_knn, item_knn_jaccard, item_knn_pearson, cooccurrence, ease, gf_cf, dan_ease, ials, blend),
    )
}
SIZED_RECIPES = tuple(name for name, make in RECIPES.items() if make().model.family in TRAINED_FAMILIES and make is not tiny)
SIZES: dict[str, dict[str, Any]] = {"m": {"dim": 128, "num_layers": 2, "num_heads": 4}, "l": {"dim": 256, "num_layers": 4, "num_heads": 8}}
# With a million events and a GPU, longer histories and larger batches pay off.
LARGER_MODEL: dict[str, Any] = {"max_length": 200}
LARGER_TRAIN: dict[str, Any] = {
    "epochs": 60,
    "batch_tokens": 16384,
    "learning_rate": 2e-3,
    "order_jitter": 0.0,
    "precision": "bf16",
    "validate_every": 3,
}

# HR@10 and NDCG@10 on MovieLens-100K, leave-one-out (last item of each user), measured on the bundle that `lodestar run` writes.
MEASURED: dict[str, tuple[float, float]] = {
    "popularity": (0.0859, 0.0439),
    "item_knn": (0.1103, 0.0570),
    "item_knn_jaccard": (0.1039, 0.0529),
    "item_knn_pearson": (0.1050, 0.0519),
    "ease": (0.1453, 0.0712),
    "dan_ease": (0.1506, 0.0750),
    "ials": (0.1485, 0.0770),
    "gf_cf": (0.1538, 0.0809),
    "lstm": (0.2174, 0.1171),
    "cooccurrence": (0.2206, 0.1180),
    "content": (0.2344, 0.1274),
    "sasrec_text": (0.2333, 0.1253),
    "gsasrec": (0.2322, 0.1253),
    "bert4rec": (0.2460, 0.1287),
    "gru": (0.2481, 0.1309),
    "hstu": (0.2407, 0.1317),
    "hstu_timed": (0.2471, 0.1347),
    "caser": (0.2439, 0.1329),
    "two_tower": (0.2513, 0.1348),
    "sasrec_ranker": (0.245, 0.1362),
    "sasrec_ratings": (0.2471, 0.1348),
    "sasrec": (0.2471, 0.1348),
    "blend": (0.2450, 0.1404),
}


def get_recipe(name: str) -> Recipe:
    """The recipe named `name`, or a larger size of it such as `sasrec-m`; ConfigError with the nearest name if there is none."""
    base_name, _, size = name.partition("-")
    if base_name not in RECIPES or (size and (size not in SIZES or base_name not in SIZED_RECIPES)):
        sized = [f"{one}-{more}" for one in SIZED_RECIPES for more in SIZES]
        message = unknown_name("no recipe", name, sorted(RECIPES), sized)
        raise ConfigError(f"{message}\nWith more parameters: NAME-m and NAME-l, such as {', '.join(sized[:2])}.", code="E190")
    base = RECIPES[base_name]()
    if not size:
        return base
    model = replace(base.model, **SIZES[size], **LARGER_MODEL)
    return replace(base, name=name, model=model, train=replace(base.train, **LARGER_TRAIN))


def load_recipe(name: str, overrides: str | Mapping[str, Any]) -> Recipe:
    """The named recipe with overrides, JSON text or a mapping; ConfigError E180 for an unknown recipe or an invalid override."""
    return override(get_recipe(name), overrides)


def merge_overrides(all_overrides: Sequence[str]) -> str:
    """Merge several overrides into one JSON text, later values replacing earlier ones; ConfigError E180 for one that is no JSON object."""
    merged: dict[str, Any] = {}
    for overrides in map(parse_overrides, all_overrides):
        for section, values in overrides.items():
            previous = merged.get(section)
            merged[section] = {**previous, **values} if isinstance(previous, dict) and isinstance(values, dict) else values
    return json.dumps(merged)
