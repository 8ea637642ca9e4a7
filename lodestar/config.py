"""What a run is, as frozen values: every knob has one place, one default and one check."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from lodestar.errors import ConfigError

Split = Literal["leave_one_out", "time"]
Loss = Literal["softmax", "sampled_softmax", "gbce", "bce", "bpr"]
STARTS, PRETRAINED = ("random", "cooccurrence"), "pretrained:"
OptimiserName = Literal["adamw", "sgd", "rowwise_adagrad"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
LearntFamily = Literal["sasrec", "bert4rec", "hstu", "gru", "lstm", "caser", "two_tower", "content"]
CountedFamily = Literal["popularity", "item_knn", "jaccard", "pearson", "cooccurrence", "ease", "graph_filter", "normalised_ease", "ials"]
Blend = Literal["blend"]
BLEND: Blend = "blend"
BY_NEIGHBOURS = ("jaccard", "pearson", "normalised_ease")  # their scores are no products of vectors
LEARNT_FAMILIES = get_args(LearntFamily)
COUNTED_FAMILIES = get_args(CountedFamily)
FAMILY_NAMES = (*LEARNT_FAMILIES, *COUNTED_FAMILIES, BLEND)
WORDED_FAMILIES = ("two_tower", "content")  # know items by their words too


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which events make a sequence, and how the future is split off."""

    split: Split = "leave_one_out"
    test_share: float = 0.1  # of the time span, when split by time
    validation_share: float = 0.1
    min_users: int = 5
    min_items: int = 5
    min_interactions: int = 50
    training_rows: int = 100_000  # at most so many of the latest labels are joined with features

    def __post_init__(self) -> None:
        _check(0 < self.test_share < 0.5, "test_share must lie in (0, 0.5)", self.test_share)
        _check(0 < self.validation_share < 0.5, "validation_share must lie in (0, 0.5)", self.validation_share)
        _check(self.training_rows >= 1, "training_rows must be at least 1", self.training_rows)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape, and how many counted neighbours of each item add to its scores (0: none).

    With `words`, titles and categories add to an item's vector; of `hashed` rows each item takes the sum of two that its id names (0:
    every item has a row of its own); with `timed`, HSTU looks at the time between items. Of a family that needs no training loop `dim`
    is how many directions are kept, and nothing but `max_length` stands beside it; `heads` are those of attention. A blend has `parts`,
    families that share the rest.
    """

    family: LearntFamily | CountedFamily | Blend = "sasrec"
    parts: tuple[str, ...] = ()
    words: bool = False
    hashed: int = 0
    timed: bool = False
    dim: int = 64
    neighbours: int = 0
    layers: int = 2
    heads: int = 2
    max_length: int = 200
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _check(self.family in FAMILY_NAMES, f"family must be one of {', '.join(FAMILY_NAMES)}", self.family)
        _check((self.family == BLEND) == bool(self.parts), "parts are those of a blend, which has at least one", self.parts)
        simple = tuple(name for name in (*LEARNT_FAMILIES, *COUNTED_FAMILIES) if name not in BY_NEIGHBOURS)
        _check(set(self.parts) <= set(simple) and len(set(self.parts)) == len(self.parts), f"parts are of {', '.join(simple)}", self.parts)
        _check(self.words or self.family != "content", "the family content needs words", self.words)
        _check(not self.timed or self.family == "hstu", "timed is for the family hstu", self.family)
        _check(self.dim % self.heads == 0, "dim must be a multiple of heads", (self.dim, self.heads))
        _check(self.neighbours >= 0, "neighbours must not be negative", self.neighbours)
        _check(self.hashed >= 0, "hashed must not be negative", self.hashed)
        _check(self.layers >= 1, "layers must be at least 1", self.layers)
        _check(1 <= self.max_length <= 200, "max_length must lie in 1–200", self.max_length)
        _check(0 <= self.dropout < 1, "dropout must lie in [0, 1)", self.dropout)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How it learns; `patience` counts validations without a better NDCG@10.

    With `rowwise_adagrad` a step moves only the item vectors it names, at `row_rate`, and everything else by AdamW. `average` is how
    much of its past a running mean of the weights keeps each step, which is then what is judged and served (0: none). `precision` is
    the encoder's. `start` is where item vectors begin: random, cooccurrence, or `pretrained:` with the address of vectors; `warm_start`
    a bundle (a folder or `s3://`) with whose weights everything else does; with `only_new` users are then learnt from for what they did
    after that bundle's last moment. With `refit`, once the best epoch is known, a fresh model learns from the validation items too, for
    as many epochs. `batch_tokens` is a whole step's, whatever the number of `workers`, which with `shard` keep a part of the weights
    each (with `rowwise_adagrad`, of the item vectors) and of what the optimiser knows of them. `order_jitter` is how far, in places,
    items of one sitting stray from their order in each epoch.
    """

    loss: Loss = "softmax"
    start: str = "random"
    warm_start: str = ""
    only_new: bool = False
    refit: bool = False
    device: Device = "auto"
    epochs: int = 100
    warmup_epochs: int = 1
    patience: int = 10
    batch_tokens: int = 8192
    optimiser: OptimiserName = "adamw"
    learning_rate: float = 1e-3
    row_rate: float = 0.05
    largest_gradient: float = 5.0
    average: float = 0.0
    precision: Precision = "fp32"
    compile: bool = False
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    order_jitter: float = 0.0
    num_negatives: int = 256
    calibration: float = 0.75
    validate_every: int = 2
    seed: int = 0
    workers: int = 1
    shard: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_tokens", "num_negatives", "validate_every", "workers"):
            _check(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("learning_rate", "row_rate", "largest_gradient"):
            _check(getattr(self, name) > 0, f"{name} must be positive", getattr(self, name))
        _check(bool(self.warm_start) or not self.only_new, "only_new needs a warm_start", self.warm_start)
        _check(0 <= self.average < 1, "average must lie in [0, 1)", self.average)
        _check(self.order_jitter >= 0, "order_jitter must not be negative", self.order_jitter)
        _check(self.warmup_epochs >= 0, "warmup_epochs must not be negative", self.warmup_epochs)
        _check(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)
        _check(0 <= self.label_smoothing < 1, "label_smoothing must lie in [0, 1)", self.label_smoothing)
        _check(0 <= self.calibration <= 1, "calibration must lie in [0, 1]", self.calibration)
        is_pretrained = self.start.startswith(PRETRAINED) and self.start != PRETRAINED
        _check(self.start in STARTS or is_pretrained, f"start must be one of {', '.join(STARTS)}, or {PRETRAINED}ADDRESS", self.start)
        chosen = {"loss": Loss, "device": Device, "optimiser": OptimiserName, "precision": Precision}
        for name, choices in ((name, get_args(kind)) for name, kind in chosen.items()):
            _check(getattr(self, name) in choices, f"{name} must be one of {', '.join(choices)}", getattr(self, name))
        is_by_row = self.optimiser == "rowwise_adagrad"
        _check(not is_by_row or self.loss != "softmax", "rowwise_adagrad needs a loss that looks at drawn items only", self.loss)
        _check(not self.shard or self.average == 0, "with shard there is no running mean: set average to 0", self.average)
        _check(not is_by_row or self.average == 0, "rowwise_adagrad keeps no running mean: set average to 0", self.average)


@dataclass(frozen=True, kw_only=True)
class RankConfig:
    """A ranker over the best `candidates` of retrieval (0: none), learnt from Feast's training set.

    It looks at the last `max_length` items of a history and crosses what it knows `crosses` times; `patience` counts epochs.
    """

    candidates: int = 0
    dim: int = 32
    crosses: int = 2
    max_length: int = 50
    dropout: float = 0.1
    epochs: int = 20
    patience: int = 3
    batch_rows: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _check(self.candidates == 0 or self.candidates >= 10, "candidates must be 0 or at least 10", self.candidates)
        for name in ("dim", "max_length", "epochs", "patience", "batch_rows"):
            _check(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        _check(self.crosses >= 0, "crosses must not be negative", self.crosses)
        _check(0 <= self.dropout < 1, "dropout must lie in [0, 1)", self.dropout)
        _check(self.learning_rate > 0, "learning_rate must be positive", self.learning_rate)
        _check(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class RateConfig:
    """How ratings are foretold beside the list: by factors of width `dim` (0: not at all), sampled `sweeps` times after a `burn_in`.

    Of their mean the strongest `directions` are bundled.
    """

    dim: int = 0
    burn_in: int = 40
    sweeps: int = 160
    directions: int = 64

    def __post_init__(self) -> None:
        _check(self.dim >= 0, "dim must not be negative", self.dim)
        _check(self.burn_in >= 0, "burn_in must not be negative", self.burn_in)
        for name in ("sweeps", "directions"):
            _check(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is reported, and with how many bootstrap samples of users."""

    cutoffs: tuple[int, ...] = (5, 10, 20, 50)
    bootstrap_samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        is_count = all(isinstance(k, int) and not isinstance(k, bool) and k >= 1 for k in self.cutoffs)
        _check(is_count, "cutoffs must be whole numbers of at least 1", self.cutoffs)
        _check(self.bootstrap_samples >= 1, "bootstrap_samples must be at least 1", self.bootstrap_samples)
        _check(self.seed >= 0, "seed must not be negative", self.seed)


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """The most that NDCG@10 may fall, as a share of the uncompressed model's (lower end of the interval)."""

    margin: float = 0.01
    latency_requests: int = 300


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One whole run."""

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    rank: RankConfig = field(default_factory=RankConfig)
    rate: RateConfig = field(default_factory=RateConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    compression: CompressionConfig = field(default_factory=CompressionConfig)

    def __post_init__(self) -> None:
        is_by_row = self.train.optimiser == "rowwise_adagrad"
        has_words = self.model.words or not set(self.model.parts).isdisjoint(WORDED_FAMILIES)
        _check(
            not self.rank.candidates or self.model.family in LEARNT_FAMILIES,
            "a ranker stands on a family that is trained by epochs",
            self.name,
        )
        _check(not (is_by_row and self.model.timed), "rowwise_adagrad numbers items anew, and does not know of time", self.model.timed)
        _check(not (is_by_row and has_words), "rowwise_adagrad moves vectors of items, and not of words", self.model.words)
        _check(not (is_by_row and self.model.hashed), "rowwise_adagrad moves rows of items, which hashed ones are not", self.model.hashed)

    def part(self, family: str) -> Self:
        """The recipe by which a blend's part of that family is made."""
        words = family in WORDED_FAMILIES
        model = dataclasses.replace(self.model, family=family, parts=(), neighbours=0, words=words, timed=False)  # type: ignore[arg-type]
        return dataclasses.replace(self, name=f"{self.name}.{family}", model=model)


def override(recipe: Recipe, overrides: str) -> Recipe:
    """The recipe with values replaced by a JSON object such as `{"train": {"epochs": 3}}`."""
    try:
        changes = json.loads(overrides or "{}")
    except json.JSONDecodeError as error:
        raise ConfigError(f"overrides are not JSON: {error}") from error
    _check(isinstance(changes, dict), "overrides must be a JSON object", changes)
    return dataclasses.replace(recipe, **{section: _replaced(recipe, section, values) for section, values in changes.items()})


def to_json(recipe: Recipe) -> str:
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def from_json(text: str) -> Recipe:
    """The recipe that `to_json` wrote."""
    values = json.loads(text)
    name = values.pop("name")
    return override(Recipe(name=name), json.dumps(values))


def _replaced(recipe: Recipe, section: str, values: Any) -> Any:
    sections = [entry.name for entry in dataclasses.fields(recipe) if entry.name != "name"]
    _check(section in sections, f"a recipe has the sections {', '.join(sections)}, not", section)
    current = getattr(recipe, section)
    names = {entry.name for entry in dataclasses.fields(current)}
    _check(isinstance(values, dict) and set(values) <= names, f"{section} has the fields {', '.join(sorted(names))}; got", values)
    for name, value in values.items():
        _check_type(f"{section}.{name}", getattr(current, name), value)
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return dataclasses.replace(current, **frozen)


def _check_type(name: str, current: Any, value: Any) -> None:
    wanted = (int, float) if isinstance(current, float) else (list,) if isinstance(current, tuple) else (type(current),)
    _check(
        isinstance(value, wanted) and isinstance(value, bool) == isinstance(current, bool), f"{name} takes {wanted[0].__name__}, got", value
    )


def _check(holds: bool, message: str, value: Any) -> None:
    if not holds:
        raise ConfigError(f"{message}: {value!r}")
