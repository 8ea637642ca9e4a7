"""Configuration of a run: one frozen dataclass per section, each hyperparameter with one default, one check and one description.

The text in an `Annotated` is the field's meaning in docs/reference/configuration.md.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self, get_args

from lodestar.schema import constraints
from lodestar.schema.constraints import Bounds, require
from lodestar.schema.json_overrides import parse_overrides, replace_section

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
Dropout = Annotated[float, Bounds(low=0, high=0.99)]
PartOfLog = Annotated[float, Bounds(low=0, high=0.5, without_low=True, without_high=True)]
Rate = Annotated[float, Bounds(low=0, high=100, without_low=True)]
Decay = Annotated[float, Bounds(low=0, high=100)]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Data: train/validation/test split and minimum amounts of data."""

    split: Annotated[Split, "test set: the last item of each user, or the last part of the log's time span"] = "leave_one_out"
    test_share: Annotated[PartOfLog, "share of the log's time span that is the test set, with `split` time"] = 0.1
    validation_share: Annotated[PartOfLog, "share of the log's time span before it that is the validation set, with `split` time"] = 0.1
    min_users: Annotated[Count, "users that a run needs at least"] = 5
    min_items: Annotated[Count, "items that a run needs at least"] = 5
    min_interactions: Annotated[Count, "interactions that a run needs at least"] = 50
    training_rows: Annotated[Count, "maximum number of labels, the latest, that are joined with features for the ranker"] = 100_000

    @property
    def split_fields(self) -> dict[str, Any]:
        """The fields that decide the split, by name: shares only with `split` time."""
        shares = {"test_share": self.test_share, "validation_share": self.validation_share} if self.split == "time" else {}
        return {"split": self.split, **shares}

    def __post_init__(self) -> None:
        constraints.check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Model: family and architecture. For closed-form families only `dim` and `max_length` apply."""

    family: Annotated[TrainedFamily | ClosedFormFamily | Blend, "model family"] = "sasrec"
    components: Annotated[tuple[str, ...], "families of a `blend`, which share all other fields but `use_text` and `use_time_gaps`"] = ()
    use_text: Annotated[bool, "add embeddings of title, categories and tags to item vectors"] = False
    hash_buckets: Annotated[int, Bounds(low=0, high=100_000_000), "hash embedding rows, of which an item sums two; 0: a row per item"] = 0
    use_time_gaps: Annotated[bool, "give `hstu` the seconds between interactions"] = False
    dim: Annotated[Width, "width of vectors, a multiple of `num_heads`; of closed-form families components, or neighbours per item"] = 64
    num_neighbours: Annotated[int, Bounds(low=0, high=10_000), "co-occurrence neighbours per item that are added to scores"] = 0
    num_layers: Annotated[int, Bounds(low=1, high=64), "layers of the encoder"] = 2
    num_heads: Annotated[int, Bounds(low=1, high=256), "attention heads"] = 2
    max_length: Annotated[Length, "length of the history in items; only the last are used"] = 200
    dropout: Annotated[Dropout, "dropout, rounded to 1/256"] = 0.2

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
    """Training: loss, initialisation, optimiser, early stopping, distribution. For closed-form families only `device` and `seed` apply.

    `rowwise_adagrad` updates only the item vectors of a batch, at `embedding_learning_rate`, and all other weights by AdamW.
    """

    loss: Annotated[Loss, "loss function"] = "softmax"
    item_init: Annotated[str, "initial item vectors: `random`, `cooccurrence`, or `pretrained:` and the address of vectors"] = "random"
    warm_start: Annotated[str, "bundle (a folder or `s3://`) whose weights training starts from; empty: none"] = ""
    incremental: Annotated[
        bool, "with `warm_start`: train only on users with events after that bundle's last one: on these, and on half a window before them"
    ] = False
    refit: Annotated[bool, "after early stopping, train a fresh model on training and validation items for the best number of epochs"] = (
        False
    )
    device: Annotated[Device, "device; `auto` is a GPU where there is one"] = "auto"
    epochs: Annotated[Epochs, "maximum number of epochs"] = 100
    warmup_epochs: Annotated[int, Bounds(low=0, high=100_000), "epochs in which the learning rate rises linearly from 0"] = 1
    patience: Annotated[Epochs, "early stopping: validations without a better NDCG@10 before training stops"] = 10
    batch_tokens: Annotated[Count, "tokens (positions with padding) of a global batch, whatever the number of `workers`"] = 8192
    optimiser: Annotated[OptimiserName, "optimiser"] = "adamw"
    learning_rate: Annotated[Rate, "learning rate"] = 1e-3
    embedding_learning_rate: Annotated[Rate, "learning rate of item vectors, with `rowwise_adagrad`"] = 0.05
    max_grad_norm: Annotated[float, Bounds(low=0, high=1_000_000_000, without_low=True), "gradients are clipped to this norm"] = 5.0
    ema_decay: Annotated[Share, "decay per step of the EMA of the weights, which is validated and exported; 0: no EMA"] = 0.0
    precision: Annotated[Precision, "precision of the encoder (mixed precision with `bf16`)"] = "fp32"
    compile: Annotated[bool, "compile the encoder by torch.compile"] = False
    weight_decay: Annotated[Decay, "weight decay"] = 0.0
    label_smoothing: Annotated[Share, "label smoothing of the softmax loss"] = 0.0
    order_jitter: Annotated[float, Bounds(low=0, high=200), "standard deviation, in positions, of noise on the order within a session"] = (
        0.0
    )
    num_negatives: Annotated[
        int, Bounds(low=1, high=1_000_000), "negatives that a batch shares, with `sampled_softmax`, and `gbce`, there at most items - 1"
    ] = 256
    gbce_t: Annotated[float, Bounds(low=0, high=1), "calibration of `gbce`: 0 is plain BCE, 1 fully calibrated"] = 0.75
    validate_every: Annotated[Epochs, "epochs from one validation to the next"] = 2
    seed: Annotated[Seed, "seed of everything that is drawn in training"] = 0
    workers: Annotated[int, Bounds(low=1, high=4_096), "worker processes of distributed training"] = 1
    shard: Annotated[bool, "shard weights and optimiser state over workers (with `rowwise_adagrad`, item vectors only)"] = False

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
    """Ranker: a second model, trained on Feast's training set, that reranks the candidates of a neural retriever."""

    candidates: Annotated[int, Bounds(low=0, high=10_000), "candidates that are reranked, at least 10; 0: no ranker"] = 0
    dim: Annotated[Width, "width of vectors"] = 32
    num_cross_layers: Annotated[int, Bounds(low=0, high=64), "depth of the DCN V2 cross network"] = 2
    max_length: Annotated[Length, "history items that it attends to"] = 50
    dropout: Annotated[Dropout, "dropout, rounded to 1/256"] = 0.1
    epochs: Annotated[Epochs, "maximum number of epochs"] = 20
    patience: Annotated[Epochs, "early stopping: epochs without a lower validation loss before training stops"] = 3
    batch_size: Annotated[Count, "rows of a batch"] = 512
    learning_rate: Annotated[Rate, "learning rate"] = 1e-3
    weight_decay: Annotated[Decay, "weight decay"] = 0.01

    def __post_init__(self) -> None:
        constraints.check_fields(self)
        require(self.candidates == 0 or self.candidates >= 10, "candidates must be 0 or at least 10", self.candidates)


@dataclass(frozen=True, kw_only=True)
class RatingsConfig:
    """Rating prediction by Bayesian matrix factorisation, fitted by Gibbs sampling."""

    dim: Annotated[int, Bounds(low=0, high=4_096), "factors; 0: no rating prediction"] = 0
    burn_in: Annotated[int, Bounds(low=0, high=100_000), "Gibbs sweeps before the first sample"] = 40
    num_samples: Annotated[Epochs, "Gibbs sweeps after `burn_in`; the prediction is the mean of every second one"] = 160
    exported_rank: Annotated[Width, "rank to which the bundle truncates the posterior mean"] = 64

    def __post_init__(self) -> None:
        constraints.check_fields(self)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Evaluation: cutoffs of the metrics, confidence intervals, how many users are evaluated, and whether the gate can refuse.

    With more pairs of user and item than `max_scores`, users are sampled, at least 1,000 (or all) of them. The top list at the largest
    cutoff is kept for each user and model: 8 kB at 1,000.
    """

    cutoffs: Annotated[tuple[int, ...], Bounds(low=1, high=1_000), "cutoffs k of the metrics, up to 100 different ones"] = (5, 10, 20, 50)
    bootstrap_samples: Annotated[int, Bounds(low=1, high=1_000_000), "bootstrap samples of users for confidence intervals"] = 1000
    max_scores: Annotated[int, Bounds(low=1, high=10**15), "maximum number of scores of a model, one per user and item"] = 2_000_000_000
    seed: Annotated[Seed, "seed of the bootstrap and of the sample of users"] = 0
    force: Annotated[bool, "release a model that the quality gate refuses; its card, its bundle and the log say so"] = False

    def __post_init__(self) -> None:
        constraints.check_fields(self)
        is_set = 1 <= len(self.cutoffs) <= MAX_CUTOFFS and len(set(self.cutoffs)) == len(self.cutoffs)
        require(is_set, f"cutoffs must be 1 to {MAX_CUTOFFS} different whole numbers", self.cutoffs)


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """Compression of the bundle: the smallest variant that keeps NDCG@10 on the validation set."""

    max_ndcg_drop: Annotated[Share, "maximum relative drop of NDCG@10 (lower end of its interval); 0: no compression"] = 0.01
    latency_requests: Annotated[int, Bounds(low=1, high=1_000_000), "requests that are timed for each variant"] = 300

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
        require(not self.train.warm_start or self.model.family in TRAINED_FAMILIES, "warm_start needs a neural family", self.model.family)
        uses_text = self.model.use_text or not set(self.model.components).isdisjoint(TEXT_FAMILIES)
        require(not self.rank.candidates or self.model.family in TRAINED_FAMILIES, "a ranker needs a neural family", self.name)
        require(not (is_rowwise and self.model.use_time_gaps), "rowwise_adagrad does not support use_time_gaps", self.model.use_time_gaps)
        require(not (is_rowwise and uses_text), "rowwise_adagrad does not support use_text", self.model.use_text)
        require(not (is_rowwise and self.model.hash_buckets), "rowwise_adagrad does not support hash_buckets", self.model.hash_buckets)

    @property
    def knows_validation(self) -> bool:
        """Whether the final model is fitted on training and validation items: closed-form families always, others by refit."""
        return self.train.refit or self.model.family in CLOSED_FORM_FAMILIES

    def for_family(self, family: str) -> Self:
        """The recipe of one component of a blend: this one with `family`, without neighbours, with text where the family needs it."""
        words = family in TEXT_FAMILIES
        model = dataclasses.replace(self.model, family=family, components=(), num_neighbours=0, use_text=words, use_time_gaps=False)  # type: ignore[arg-type]
        return dataclasses.replace(self, name=f"{self.name}.{family}", model=model)


def override(recipe: Recipe, overrides: str | Mapping[str, Any]) -> Recipe:
    """The recipe with values replaced by overrides such as `{"train": {"epochs": 3}}`; ConfigError E180 for invalid ones."""
    sections = parse_overrides(overrides).items()
    return dataclasses.replace(recipe, **{section: replace_section(recipe, section, values) for section, values in sections})


def to_json(recipe: Recipe) -> str:
    """The whole recipe as JSON with sorted keys: equal recipes give equal text."""
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def from_json(text: str) -> Recipe:
    """Parse a recipe that `to_json` wrote; ConfigError E180 for unknown sections or fields."""
    values = json.loads(text)
    name = values.pop("name")
    return override(Recipe(name=name), values)
