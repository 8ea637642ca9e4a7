"""What models and metrics are called: in the figures by a word, in a sentence by a phrase."""

MODEL = "model"  # among the baselines' names in the figures: the bundle that would go out
UNCOMPRESSED = "uncompressed"  # the bundle that it was made from, beside it
BUNDLES = (MODEL, UNCOMPRESSED)
TITLES = {
    MODEL: "this model",
    UNCOMPRESSED: "uncompressed",
    "popularity": "popularity",
    "item_knn": "item-item cosine",
    "ease": "EASE",
    "cooccurrence": "co-occurrence",
    "taken": "what users took",
}
ACRONYMS = ("hr", "ndcg", "mrr", "map")


def title(name: str) -> str:
    """What a model or a curve is called in a sentence."""
    return TITLES.get(name, name.replace("_", " "))


def metric_title(name: str) -> str:
    """`ndcg_at_10` as `NDCG@10`."""
    kind, _, k = name.partition("_at_")
    return f"{kind.upper() if kind in ACRONYMS else kind.capitalize()}@{k}"
