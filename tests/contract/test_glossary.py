"""The glossary: private words for what the field has a word for do not come back, neither in names nor in prose."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("lodestar", "components", "pipelines", "feature_repo", "serving", "cli", "manifests", "docs", "tests", "benchmarks")
SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".html", ".css", ".sh"}
NOT_OURS = ("tests/contract/crds/*", "tests/contract/test_glossary.py")

# Private word: what to say instead. A word stands for itself alone, also as a part of a name: is_taken, NUM_MOMENTS, UserTaken.
SAY = {
    "taken": "interactions, seen; accepted",
    "took": "interacted with; elapsed",
    "untaken": "without interactions",
    "foretold": "predicted",
    "foretell": "predict",
    "foretells": "predicts",
    "learnt": "trained, fitted, learned",
    "taught": "trained",
    "teacher": "epoch runner, trainer (a teacher is what a student is distilled from)",
    "lesson": "train rows",
    "lessons": "train rows",
    "exam": "validation rows",
    "newcomer": "cold-start user, new user",
    "newcomers": "cold-start users, new users",
    "chance": "rng; probability, propensity; at random",
    "moment": "cutoff, time, timestamp",
    "moments": "cutoffs, times, timestamps",
    "contestant": "baseline, implementation",
    "contestants": "baselines, implementations",
    "rival": "best baseline",
    "rivals": "baselines",
    "judge": "evaluator, validator; evaluate, validate, compare",
    "judges": "evaluators; evaluates, validates",
    "judged": "evaluated, validated, compared",
    "judging": "evaluating, validating",
    "guard": "gate",
    "guards": "gates",
    "offence": "row error",
    "offences": "row errors",
    "follower": "co-occurring item (a follower is a person of the social graph)",
    "followers": "co-occurrence counts (followers are people of the social graph)",
    "evened": "normalised",
    "bring": "download, copy, publish, provide",
    "brings": "downloads, copies, publishes, provides",
    "brought": "downloaded, copied, published, provided",
    "sweep": "remove_orphans",
    "sweeps": "removes orphans",
    "lend": "gather",
    "lent": "gathered",
    "parted": "sharded",
    "leader": "rank zero",
    "replay": "CUDA graph (replay is the rebuilding of an answer)",
    "replays": "CUDA graphs",
    "exhibit": "report data",
    "exhibits": "report data",
    "hunt": "leak test",
    "hunts": "leak tests",
    "worth": "score",
}
# Private phrase: what to say instead.
SAY_FOR_PHRASE = {
    "knows the future": "target leakage",
    "held against history": "training-serving skew test",
    "drawn by chance": "random, sampled",
    "whose items are shown": "popularity bias",
    "for whom it is good": "results by segment",
    "often called": "column alias",
    "going on from another bundle": "warm start",
    "families without a loop": "closed-form models",
    "counted families": "closed-form families",
    "better settings": "hyperparameter search",
}


class Right(NamedTuple):
    """A right use of a word: in these files, in a line that has this pattern, and why."""

    word: str
    files: str
    line: str
    reason: str


RIGHT = (
    Right("taken", "*", r"taken (from|for) ", "plain English of a source, and of a mistake"),
    Right("taken", "*", r"taken_from_the_cache", "plain English of a source"),
    Right("took", "*", r"took (longer|over|[\d.]+ )", "a duration"),
    Right("moment", "*", r"[Rr]etry in a moment", "plain English of a remedy"),
    Right("sweep", "*", r"[Ss]weep line|sweep\(|`sweep`", "the sweep-line algorithm of lodestar.features.batch.windows"),
    Right("sweep", "lodestar/models/ratings/rating_factors.py", "", "a Gibbs sweep"),
    Right("sweeps", "*", r"Gibbs sweeps|`burn_in` sweeps", "Gibbs sweeps"),
    Right("replay", "lodestar/training/optimisation/cuda_graphs.py", "", "the API of torch.cuda.CUDAGraph"),
    Right("lesson", "*", r'"lesson"|`lesson`', "a type of items in the data contract"),
    Right("lesson", "lodestar/data/datasets/assistments.py", "LESSON", "that type of items"),
    Right("lesson", "lodestar/schema/aliases.py", "lessonid", "a name that others give to an item"),
    Right("follower", "docs/reference/tables.md", "followerid", "that name"),
    Right("follower", "lodestar/schema/aliases.py", "followerid", "a name that others give to a person of the social graph"),
)


class Use(NamedTuple):
    """A private word in a file: the line's number, 0 for the file's name, and its text."""

    file: str
    number: int
    line: str
    word: str

    def __str__(self) -> str:
        say = SAY.get(self.word) or SAY_FOR_PHRASE[self.word]
        return f"{self.file}:{self.number}: {self.word!r}, say {say}: {self.line.strip()[:120]}"


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of each file of ours."""
    files = [*(file for file in ROOT.iterdir() if file.suffix in SUFFIXES), ROOT / "Makefile"]
    files += [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.suffix in SUFFIXES]
    for file in sorted(files):
        path = file.relative_to(ROOT).as_posix()
        if not any(fnmatch(path, pattern) for pattern in NOT_OURS):
            yield path, file.read_text()


def words_in(text: str) -> Iterator[tuple[int, str]]:
    """Offset and word of each private word, in snake_case and in CamelCase too, and of each private phrase."""
    lower = text.lower()
    for found in WORDS.finditer(lower):
        start, end = found.span()
        before, after = text[start - 1 : start], text[end : end + 1]
        begins = not before.isalpha() or (before.islower() and text[start].isupper())
        if begins and (not after.isalpha() or (after.isupper() and text[end - 1].islower())):
            yield start, found[0]
    yield from ((found.start(), found[0]) for found in PHRASES.finditer(lower))


# One pattern of all words, by their first letters: the text is searched once.
WORDS = re.compile("|".join(sorted(SAY, key=len, reverse=True)))
PHRASES = re.compile("|".join(SAY_FOR_PHRASE))


@cache
def uses() -> tuple[Use, ...]:
    found = []
    for path, text in texts():
        found += [Use(path, 0, path, word) for _, word in words_in(path)]
        for offset, word in words_in(text):
            begin, end = text.rfind("\n", 0, offset) + 1, text.find("\n", offset)
            found.append(Use(path, text.count("\n", 0, offset) + 1, text[begin : end if end >= 0 else None], word))
    return tuple(found)


def is_right(use: Use, right: Right) -> bool:
    return right.word == use.word and fnmatch(use.file, right.files) and re.search(right.line, use.line) is not None


def test_private_words_do_not_come_back() -> None:
    wrong = [str(use) for use in uses() if not any(is_right(use, right) for right in RIGHT)]
    assert wrong == [], "\n" + "\n".join(wrong)


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: f"{right.word}, {right.reason}")
def test_what_is_allowed_is_used(right: Right) -> None:
    assert any(is_right(use, right) for use in uses())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("is_taken, TAKEN, UserTaken, takenOver, taken", ["taken"] * 5),
        ("mistaken takenness overtaken", []),
        ("a feature that knows the future", ["knows the future"]),
        ("NUM_MOMENTS momentum", ["moments"]),
    ],
)
def test_words_are_found_in_names_and_prose(text: str, expected: list[str]) -> None:
    assert [word for _, word in words_in(text)] == expected
