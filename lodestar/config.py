"""Configuration of a run: one frozen dataclass per section, each hyperparameter with one default and one check; JSON overrides."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self, get_args

from lodestar.schema import constraints
from lodestar.schema.constraints import Bounds, require
from lodestar.schema.json_overrides import parse_json, replace_section

Split = Literal["leave_one_out", "time"]
Loss = Literal["softmax", "sampled_softmax", "gbce", "bce", "bpr"]
ITEM_INITS, PRETRAINED = ("random", "cooccurrence"), "pretrained:"
OptimiserName = Literal["adamw", "sgd", "rowwise_adagrad"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
TrainedFamily = Literal["sasrec", "bert4rec", "hstu", "gru", "lstm", "caser", "two_tower", "content"]
ClosedFormFamily = Literal[
    "popularity", "item_knn", "item_knn_jaccard", "item_knn_pearson", "cooccurrence", "ease", "gf_cf", "dan_ease", "ials"
]
Blend = Literal["blend"]
BLEND: Blend = "blend"
NEIGHBOUR_SCORED_FAMILIES = ("item_knn_jaccard", "item_knn_pearson", "dan_ease")  # scored by neighbour tables, not by dot products
TRAINED_FAMILIES = get_args(TrainedFamily)
CLOSED_FORM_FAMILIES = get_args(ClosedFormFamily)
FAMILY_NAMES = (*TRAINED_FAMILIES, *CLOSED_FORM_FAMILIES, BLEND)
TEXT_FAMILIES = ("two_tower", "content")  # use item text
MAX_CUTOFFS = 100
MAX_SEED = 2**31 - 1  # numpy, torch and optuna accept it, and sums of it and an epoch or step

Count = Annotated[int, Bounds(low=1, high=1_000_000_000)]
Epochs = Annotated[int, Bounds(low=1, high=100_000)]
Length = Annotated[int, Bounds(low=1, high=200)]
Width = Annotated[int, Bounds(low=1, high=16_384)]
Seed = Annotated[int, Bounds(low=0, high=MAX_SEED)]
Share = Annotated[float, Bounds(low=0, high=1, without_high=True)]
Dropout = Annotated[float, Bounds(low=0, high=0.99)]  # rounded to 1/256
PartOfLog = Annotated[float, Bounds(low=0, high=0.5, without_low=True, without_high=True)]
Rate = Annotated[float, Bounds(low=0, high=100, without_low=True)]
Decay = Annotated[float, Bounds(low=0, high=100)]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Data section: train/validation/test split and minimum amounts of data.

    `test_share` and `validation_share` are shares of the log's time span (used by `split` time). A run needs at least `min_users`,
    `min_items` and `min_interactions`. `training_rows` is the most labels, the latest, joined with features for the ranker.
    """

    split: Split = "leave_one_out"
    test_share: PartOfLog = 0.1
    validation_share: PartOfLog = 0.1
    min_users: Count = 5
    min_items: Count = 5
    min_interactions: Count = 50
    training_rows: Count = 100_000

    def __post_init__(self) -> None:
        constraints.check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Model section: family, architecture and `num_neighbours`, the co-occurrence neighbours per item added to scores (0: none).

    `use_text` adds title, category and tag embeddings to item vectors. `hash_buckets` is the number of hash embedding rows, of which each
    item sums two (0: one row per item). `use_time_gaps` gives HSTU the seconds between interactions. `max_length` is the history length
    in items. For closed-form families only `dim` (number of components, or neighbours per item) and `max_length` apply. A blend has
    `components`, families that share all other fields.
    """

    family: TrainedFamily | ClosedFormFamily | Blend = "sasrec"
    components: tuple[str, ...] = ()
    use_text: bool = False
    hash_buckets: Annotated[int, Bounds(low=0, high=100_000_000)] = 0
    use_time_gaps: bool = False
    dim: Width = 64
    num_neighbours: Annotated[int, Bounds(low=0, high=10_000)] = 0
    num_layers: Annotated[int, Bounds(low=1, high=64)] = 2
    num_heads: Annotated[int, Bounds(low=1, high=256)] = 2
    max_length: Length = 200
    dropout: Dropout = 0.2

    def __post_init__(self) -> None:
        constraints.check_fields(self)
        require((self.family == BLEND) == bool(self.components), "components are for the family blend, which needs one", self.components)
        allowed = tuple(name for name in (*TRAINED_FAMILIES, *CLOSED_FORM_FAMILIES) if name not in NEIGHBOUR_SCORED_FAMILIES)
        require(
            set(self.components) <= set(allowed) and len(set(self.components)) == len(self.components),
            f"components must be different families of {', '.join(allowed)}",
            self.components,
        )
        require(self.use_text or self.family != "content", "the family content needs use_text", self.use_text)
        require(not self.use_time_gaps or self.family == "hstu", "use_time_gaps is for the family hstu", self.family)
        require(self.dim % self.num_heads == 0, "dim must be a multiple of num_heads", (self.dim, self.num_heads))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training section of neural families: loss, initialisation, optimiser, early stopping, distribution.

    `patience` is the number of validations without a better NDCG@10 before early stopping; `validate_every` is in epochs.
    `rowwise_adagrad` updates only the item vectors of a batch, at `embedding_learning_rate`, and all other weights by AdamW.
    `ema_decay` is the decay per step of the EMA of the weights, which is what is validated and exported (0: no EMA).
    `precision` is the encoder's. `item_init` initialises item vectors: random, cooccurrence, or `pretrained:` with the address of vectors.
    `warm_start` is a bundle (a folder or `s3://`) whose weights initialise everything else; with `incremental`, train only on events
    after that bundle's last one. `refit` trains a fresh model on training and validation items for the best number of epochs.
    `batch_tokens` is the tokens (positions with padding) of a global batch, whatever the number of `workers`; `shard` shards weights and
    optimiser state over workers (with `rowwise_adagrad`, item vectors only). `order_jitter` is the standard deviation, in positions, of the
    noise that perturbs the order of items within a session in each epoch.
    """

    loss: Loss = "softmax"
    item_init: str = "random"
    warm_start: str = ""
    incremental: bool = False
    refit: bool = False
    device: Device = "auto"
    epochs: Epochs = 100
    warmup_epochs: Annotated[int, Bounds(low=0, high=100_000)] = 1
    patience: Epochs = 10
    batch_tokens: Count = 8192
    optimiser: OptimiserName = "adamw"
    learning_rate: Rate = 1e-3
    embedding_learning_rate: Rate = 0.05
    max_grad_norm: Annotated[float, Bounds(low=0, high=1_000_000_000, without_low=True)] = 5.0
    ema_decay: Share = 0.0
    precision: Precision = "fp32"
    compile: bool = False
    weight_decay: Decay = 0.0
    label_smoothing: Share = 0.0
    order_jitter: Annotated[float, Bounds(low=0, high=200)] = 0.0
    num_negatives: Annotated[int, Bounds(low=1, high=1_000_000)] = 256
    gbce_t: Annotated[float, Bounds(low=0, high=1)] = 0.75
    validate_every: Epochs = 2
    seed: Seed = 0
    workers: Annotated[int, Bounds(low=1, high=4_096)] = 1
    shard: bool = False

    @property
    def addresses(self) -> dict[str, str]:
        """Addresses that training reads initial weights or vectors from, by field name; fields without one are left out."""
        vectors = self.item_init.removeprefix(PRETRAINED) if self.item_init.startswith(PRETRAINED) else ""
        return {name: address for name, address in (("warm_start", self.warm_start), ("item_init", vectors)) if address}

    def __post_init__(self) -> None:
        constraints.check_fields(self)
        require(bool(self.warm_start) or not self.incremental, "incremental needs a warm_start", self.warm_start)
        is_pretrained = self.item_init.startswith(PRETRAINED) and self.item_init != PRETRAINED
        require(
            self.item_init in ITEM_INITS or is_pretrained,
            f"item_init must be one of {', '.join(ITEM_INITS)}, or {PRETRAINED}ADDRESS",
            self.item_init,
        )
        is_rowwise = self.optimiser == "rowwise_adagrad"
        require(not is_rowwise or self.loss != "softmax", "rowwise_adagrad needs a loss with sampled negatives, not softmax", self.loss)
        require(not self.shard or self.ema_decay == 0, "shard does not support EMA: set ema_decay to 0", self.ema_decay)
        require(not is_rowwise or self.ema_decay == 0, "rowwise_adagrad does not support EMA: set ema_decay to 0", self.ema_decay)


@dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """Ranker section: rerank the top `candidates` of retrieval (0: no ranker), trained on Feast's training set.

    `max_length` is the number of history items it attends to, `num_cross_layers` the depth of its DCN V2 cross network, `patience` the
    number of epochs without a lower validation loss before early stopping.
    """

    candidates: Annotated[int, Bounds(low=0, high=10_000)] = 0
    dim: Width = 32
    num_cross_layers: Annotated[int, Bounds(low=0, high=64)] = 2
    max_length: Length = 50
    dropout: Dropout = 0.1
    epochs: Epochs = 20
    patience: Epochs = 3
    batch_size: Count = 512
    learning_rate: Rate = 1e-3
    weight_decay: Decay = 0.01

    def __post_init__(self) -> None:
        constraints.check_fields(self)
        require(self.candidates == 0 or self.candidates >= 10, "candidates must be 0 or at least 10", self.candidates)


@dataclass(frozen=True, kw_only=True)
class RatingsConfig:
    """Rating prediction by Bayesian matrix factorisation with `dim` factors (0: off): `num_samples` Gibbs sweeps after `burn_in`.

    The bundle holds the posterior mean, truncated to rank `exported_rank`.
    """

    dim: Annotated[int, Bounds(low=0, high=4_096)] = 0
    burn_in: Annotated[int, Bounds(low=0, high=100_000)] = 40
    num_samples: Epochs = 160
    exported_rank: Width = 64

    def __post_init__(self) -> None:
        constraints.check_fields(self)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Evaluation section: cutoffs k of the metrics, and bootstrap samples of users for confidence intervals.

    A model computes at most `max_scores` scores, one per user and item; with more pairs, users are sampled by `seed`, at least 1,000 (or
    all) of them. The top list at the largest cutoff is kept for each user and model: 8 kB at 1,000.
    """

    cutoffs: Annotated[tuple[int, ...], Bounds(low=1, high=1_000)] = (5, 10, 20, 50)
    bootstrap_samples: Annotated[int, Bounds(low=1, high=1_000_000)] = 1000
    max_scores: Annotated[int, Bounds(low=1, high=1_000_000_000_000_000)] = 2_000_000_000
    seed: Seed = 0

    def __post_init__(self) -> None:
        constraints.check_fields(self)
        is_set = 1 <= len(self.cutoffs) <= MAX_CUTOFFS and len(set(self.cutoffs)) == len(self.cutoffs)
        require(is_set, f"cutoffs must be 1 to {MAX_CUTOFFS} different whole numbers", self.cutoffs)


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """Compression section: `max_ndcg_drop` is the largest relative drop of NDCG@10 (lower end of its interval); 0 turns compression off.

    `latency_requests` is the number of requests timed for each variant.
    """

    max_ndcg_drop: Share = 0.01
    latency_requests: Annotated[int, Bounds(low=1, high=1_000_000)] = 300

    def __post_init__(self) -> None:
        constraints.check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Complete configuration of one run: a name and one section each for data, model, training, ranker, ratings, evaluation, compression.

    ConfigError E180 for sections that contradict each other.
    """

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    rank: RankerConfig = field(default_factory=RankerConfig)
    rate: RatingsConfig = field(default_factory=RatingsConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    compression: CompressionConfig = field(default_factory=CompressionConfig)

    def __post_init__(self) -> None:
        is_rowwise = self.train.optimiser == "rowwise_adagrad"
        uses_text = self.model.use_text or not set(self.model.components).isdisjoint(TEXT_FAMILIES)
        require(not self.rank.candidates or self.model.family in TRAINED_FAMILIES, "a ranker needs a neural family", self.name)
        require(not (is_rowwise and self.model.use_time_gaps), "rowwise_adagrad does not support use_time_gaps", self.model.use_time_gaps)
        require(not (is_rowwise and uses_text), "rowwise_adagrad does not support use_text", self.model.use_text)
        require(not (is_rowwise and self.model.hash_buckets), "rowwise_adagrad does not support hash_buckets", self.model.hash_buckets)

    def for_family(self, family: str) -> Self:
        """The recipe of one component of a blend: this one with `family`, without neighbours, with text where the family needs it."""
        words = family in TEXT_FAMILIES
        model = dataclasses.replace(self.model, family=family, components=(), num_neighbours=0, use_text=words, use_time_gaps=False)  # type: ignore[arg-type]
        return dataclasses.replace(self, name=f"{self.name}.{family}", model=model)


def override(recipe: Recipe, overrides: str) -> Recipe:
    """The recipe with values replaced by a JSON object such as `{"train": {"epochs": 3}}`; ConfigError E180 for an invalid one."""
    changes = parse_overrides(overrides).items()
    return dataclasses.replace(recipe, **{section: replace_section(recipe, section, values) for section, values in changes})


def parse_overrides(text: str) -> dict[str, Any]:
    """Parse overrides, a JSON object without duplicate keys (empty text: no overrides); ConfigError E180 for anything else."""
    require(isinstance(changes := parse_json(text or "{}"), dict), "overrides must be a JSON object", changes)
    return dict(changes)


def to_json(recipe: Recipe) -> str:
    """The whole recipe as JSON with sorted keys: equal recipes give equal text."""
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def from_json(text: str) -> Recipe:
    """Parse a recipe that `to_json` wrote; ConfigError E180 for unknown sections or fields."""
    values = json.loads(text)
    name = values.pop("name")
    return override(Recipe(name=name), json.dumps(values))
