"""Display titles of models and metrics, for reports and messages."""

MODEL = "model"  # the evaluated bundle, in figures that also hold the baselines by name
UNCOMPRESSED = "uncompressed"  # the bundle before compression
BUNDLES = (MODEL, UNCOMPRESSED)
TITLES = {
    MODEL: "this model",
    UNCOMPRESSED: "uncompressed",
    "popularity": "popularity",
    "item_knn": "item-item cosine",
    "ease": "EASE",
    "cooccurrence": "co-occurrence",
    "interactions": "users' interactions",
}
ACRONYMS = ("hr", "ndcg", "mrr", "map")


def title(name: str) -> str:
    """Title of a model, baseline or curve: "item-item cosine" for `item_knn`; unknown names with spaces for underscores."""
    return TITLES.get(name, name.replace("_", " "))


def metric_title(name: str) -> str:
    """Title of a metric: "NDCG@10" for `ndcg_at_10`."""
    kind, _, k = name.partition("_at_")
    return f"{kind.upper() if kind in ACRONYMS else kind.capitalize()}@{k}"
