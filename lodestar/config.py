"""What a run is, as frozen values: every knob has one place, one default and one check."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self, get_args

from lodestar import checked
from lodestar.checked import Between, require
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
MOST_CUTOFFS = 100
LARGEST_SEED = 2**31 - 1  # numpy, torch and optuna take it, and what is added to it

Count = Annotated[int, Between(low=1, high=1_000_000_000)]
Epochs = Annotated[int, Between(low=1, high=100_000)]
Length = Annotated[int, Between(low=1, high=200)]
Width = Annotated[int, Between(low=1, high=16_384)]
Seed = Annotated[int, Between(low=0, high=LARGEST_SEED)]
Share = Annotated[float, Between(low=0, high=1, without_high=True)]
Dropout = Annotated[float, Between(low=0, high=0.99)]  # it is rounded to 1/256
PartOfLog = Annotated[float, Between(low=0, high=0.5, without_low=True, without_high=True)]
Rate = Annotated[float, Between(low=0, high=100, without_low=True)]
Decay = Annotated[float, Between(low=0, high=100)]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which events make a sequence, and how the future is split off."""

    split: Split = "leave_one_out"
    test_share: PartOfLog = 0.1  # of the time span, when split by time
    validation_share: PartOfLog = 0.1
    min_users: Count = 5
    min_items: Count = 5
    min_interactions: Count = 50
    training_rows: Count = 100_000  # at most so many of the latest labels are joined with features

    def __post_init__(self) -> None:
        checked.check(self)


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
    hashed: Annotated[int, Between(low=0, high=100_000_000)] = 0
    timed: bool = False
    dim: Width = 64
    neighbours: Annotated[int, Between(low=0, high=10_000)] = 0
    layers: Annotated[int, Between(low=1, high=64)] = 2
    heads: Annotated[int, Between(low=1, high=256)] = 2
    max_length: Length = 200
    dropout: Dropout = 0.2

    def __post_init__(self) -> None:
        checked.check(self)
        require((self.family == BLEND) == bool(self.parts), "parts are those of a blend, which has at least one", self.parts)
        simple = tuple(name for name in (*LEARNT_FAMILIES, *COUNTED_FAMILIES) if name not in BY_NEIGHBOURS)
        require(set(self.parts) <= set(simple) and len(set(self.parts)) == len(self.parts), f"parts are of {', '.join(simple)}", self.parts)
        require(self.words or self.family != "content", "the family content needs words", self.words)
        require(not self.timed or self.family == "hstu", "timed is for the family hstu", self.family)
        require(self.dim % self.heads == 0, "dim must be a multiple of heads", (self.dim, self.heads))


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
    epochs: Epochs = 100
    warmup_epochs: Annotated[int, Between(low=0, high=100_000)] = 1
    patience: Epochs = 10
    batch_tokens: Count = 8192
    optimiser: OptimiserName = "adamw"
    learning_rate: Rate = 1e-3
    row_rate: Rate = 0.05
    largest_gradient: Annotated[float, Between(low=0, high=1_000_000_000, without_low=True)] = 5.0
    average: Share = 0.0
    precision: Precision = "fp32"
    compile: bool = False
    weight_decay: Decay = 0.0
    label_smoothing: Share = 0.0
    order_jitter: Annotated[float, Between(low=0, high=200)] = 0.0
    num_negatives: Annotated[int, Between(low=1, high=1_000_000)] = 256
    calibration: Annotated[float, Between(low=0, high=1)] = 0.75
    validate_every: Epochs = 2
    seed: Seed = 0
    workers: Annotated[int, Between(low=1, high=4_096)] = 1
    shard: bool = False

    @property
    def addresses(self) -> dict[str, str]:
        """What training begins from, by the name of the setting."""
        vectors = self.start.removeprefix(PRETRAINED) if self.start.startswith(PRETRAINED) else ""
        return {name: address for name, address in (("warm_start", self.warm_start), ("start", vectors)) if address}

    def __post_init__(self) -> None:
        checked.check(self)
        require(bool(self.warm_start) or not self.only_new, "only_new needs a warm_start", self.warm_start)
        is_pretrained = self.start.startswith(PRETRAINED) and self.start != PRETRAINED
        require(self.start in STARTS or is_pretrained, f"start must be one of {', '.join(STARTS)}, or {PRETRAINED}ADDRESS", self.start)
        is_by_row = self.optimiser == "rowwise_adagrad"
        require(not is_by_row or self.loss != "softmax", "rowwise_adagrad needs a loss that looks at drawn items only", self.loss)
        require(not self.shard or self.average == 0, "with shard there is no running mean: set average to 0", self.average)
        require(not is_by_row or self.average == 0, "rowwise_adagrad keeps no running mean: set average to 0", self.average)


@dataclass(frozen=True, kw_only=True)
class RankConfig:
    """A ranker over the best `candidates` of retrieval (0: none), learnt from Feast's training set.

    It looks at the last `max_length` items of a history and crosses what it knows `crosses` times; `patience` counts epochs.
    """

    candidates: Annotated[int, Between(low=0, high=10_000)] = 0
    dim: Width = 32
    crosses: Annotated[int, Between(low=0, high=64)] = 2
    max_length: Length = 50
    dropout: Dropout = 0.1
    epochs: Epochs = 20
    patience: Epochs = 3
    batch_rows: Count = 512
    learning_rate: Rate = 1e-3
    weight_decay: Decay = 0.01

    def __post_init__(self) -> None:
        checked.check(self)
        require(self.candidates == 0 or self.candidates >= 10, "candidates must be 0 or at least 10", self.candidates)


@dataclass(frozen=True, kw_only=True)
class RateConfig:
    """How ratings are foretold beside the list: by factors of width `dim` (0: not at all), sampled `sweeps` times after a `burn_in`.

    Of their mean the strongest `directions` are bundled.
    """

    dim: Annotated[int, Between(low=0, high=4_096)] = 0
    burn_in: Annotated[int, Between(low=0, high=100_000)] = 40
    sweeps: Epochs = 160
    directions: Width = 64

    def __post_init__(self) -> None:
        checked.check(self)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is reported, and with how many bootstrap samples of users.

    A model gives at most `max_scores`, one for each user and item: where there are more, so many users are drawn by `seed`, and never
    fewer than 1,000 (or all). A list of the largest cutoff is kept of each user and model: 8 kB at 1,000.
    """

    cutoffs: Annotated[tuple[int, ...], Between(low=1, high=1_000)] = (5, 10, 20, 50)
    bootstrap_samples: Annotated[int, Between(low=1, high=1_000_000)] = 1000
    max_scores: Annotated[int, Between(low=1, high=1_000_000_000_000_000)] = 2_000_000_000
    seed: Seed = 0

    def __post_init__(self) -> None:
        checked.check(self)
        is_set = 1 <= len(self.cutoffs) <= MOST_CUTOFFS and len(set(self.cutoffs)) == len(self.cutoffs)
        require(is_set, f"cutoffs must be 1 to {MOST_CUTOFFS} different whole numbers", self.cutoffs)


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """The most that NDCG@10 may fall, as a share of the uncompressed model's (lower end of the interval); 0 leaves it uncompressed."""

    margin: Share = 0.01
    latency_requests: Annotated[int, Between(low=1, high=1_000_000)] = 300

    def __post_init__(self) -> None:
        checked.check(self)


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
        require(
            not self.rank.candidates or self.model.family in LEARNT_FAMILIES,
            "a ranker stands on a family that is trained by epochs",
            self.name,
        )
        require(not (is_by_row and self.model.timed), "rowwise_adagrad numbers items anew, and does not know of time", self.model.timed)
        require(not (is_by_row and has_words), "rowwise_adagrad moves vectors of items, and not of words", self.model.words)
        require(not (is_by_row and self.model.hashed), "rowwise_adagrad moves rows of items, which hashed ones are not", self.model.hashed)

    def part(self, family: str) -> Self:
        """The recipe by which a blend's part of that family is made."""
        words = family in WORDED_FAMILIES
        model = dataclasses.replace(self.model, family=family, parts=(), neighbours=0, words=words, timed=False)  # type: ignore[arg-type]
        return dataclasses.replace(self, name=f"{self.name}.{family}", model=model)


def override(recipe: Recipe, overrides: str) -> Recipe:
    """The recipe with values replaced by a JSON object such as `{"train": {"epochs": 3}}`; ConfigError E180 where it is none."""
    changes = parse_overrides(overrides).items()
    return dataclasses.replace(recipe, **{section: _replaced(recipe, section, values) for section, values in changes})


def parse_overrides(text: str) -> dict[str, Any]:
    """The object that overrides are, in which no name comes twice; ConfigError E180 where they are none."""
    require(isinstance(changes := _parsed(text or "{}"), dict), "overrides must be a JSON object", changes)
    return dict(changes)


def to_json(recipe: Recipe) -> str:
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def from_json(text: str) -> Recipe:
    """The recipe that `to_json` wrote."""
    values = json.loads(text)
    name = values.pop("name")
    return override(Recipe(name=name), json.dumps(values))


def _parsed(text: str) -> Any:
    """JSON in which no name comes twice and every number is one."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        require(len(set(names)) == len(names), "overrides name a value twice", next((name for name in names if names.count(name) > 1), ""))
        return dict(pairs)

    def no_number(name: str) -> None:
        require(False, "overrides hold what is no finite number", name)

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{checked.WRONG} overrides are not JSON: {error}") from error


def _replaced(recipe: Recipe, section: str, values: Any) -> Any:
    sections = [entry.name for entry in dataclasses.fields(recipe) if entry.name != "name"]
    checked.require_known("a recipe has no section", section, sections)
    current = getattr(recipe, section)
    names = sorted(entry.name for entry in dataclasses.fields(current))
    require(isinstance(values, dict), f"{section} takes an object with any of {', '.join(names)}; got", values)
    for name in values:
        checked.require_known(f"{section} has no field", name, names)
    try:
        return dataclasses.replace(current, **{name: checked.converted(current, name, value) for name, value in values.items()})
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"{checked.WRONG} ", f"{checked.WRONG} {section}: ", 1)) from error
