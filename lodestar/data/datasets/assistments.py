"""ASSISTments 2009 reader: learners' answers to problems, in order, and whether they were correct.

A problem with several skills has one row per skill, one after another, with the same answer. The first row leaks the others: a model
evaluated on them looks far better than it is. So repeats are dropped and counted. Each learner has four lines: a number and an id, the
problems, the skills, the answers. There are no times, only an order.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lodestar import schema
from lodestar.data.dataset import DataSet, constant, single_file, times_from_order
from lodestar.data.readers.decompression import open_decompressed
from lodestar.data.readers.source import Source, check_text, single_batch, unreadable

SKILLS = ("skill.json.gz", "skill.json")
FOLDS = ("fold*.csv.gz", "fold*.csv")
LEARNER = re.compile(rb"\d+,\w+\r?\n(\d+(,\d+)*\r?\n){3}")
HEAD_BYTES = 1 << 20
LESSON = "lesson"
LINES_EACH = 4
ANSWER_LINE = 3
REPEATED = "the same answer once more, for another skill of the same problem: a leak"
SCORES = "progress is the score of an answer, 0 or 1; source is the fold, which holds whole learners"

Record = tuple[str, list[str], list[str], list[str]]


def find(folder: Path) -> DataSet | None:
    """ASSISTments 2009 in a folder of its folds and skills, None where it is not there."""
    folds = next((found for pattern in FOLDS if (found := sorted(folder.glob(pattern)))), [])
    skills = next((folder / name for name in SKILLS if (folder / name).is_file()), None)
    if not folds or skills is None or not all(map(_begins_with_learner, folds)):
        return None
    tables = {schema.EVENTS.name: single_file(_answers, folds), schema.ITEMS.name: single_file(_problems, folds, skills)}
    return DataSet(tables=tables, paths=(*folds, skills), order_only=True)


def _begins_with_learner(fold: Path) -> bool:
    with open_decompressed(fold) as content:
        return LEARNER.match(content.read(HEAD_BYTES)) is not None


def _answers(folds: list[Path]) -> Source:
    """Quiz events: a learner's answers in order, without repeats."""
    columns: dict[str, list[str]] = {name: [] for name in (schema.USER_ID, schema.ITEM_ID, schema.PROGRESS, schema.SOURCE)}
    positions: list[int] = []
    line_numbers: list[int] = []
    repeated = 0
    for fold in folds:
        for number, (learner, problems, _, answers) in enumerate(_records(fold)):
            kept = _without_repeats(problems, answers)
            repeated += len(problems) - len(kept)
            columns[schema.USER_ID] += [learner] * len(kept)
            columns[schema.ITEM_ID] += [problems[position] for position in kept]
            columns[schema.PROGRESS] += [answers[position] for position in kept]
            columns[schema.SOURCE] += [fold.name.partition(".")[0]] * len(kept)
            positions += kept
            line_numbers += [number * LINES_EACH + ANSWER_LINE + 1] * len(kept)
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    rows = rows.append_column(schema.EVENT_TYPE, constant(schema.EventType.QUIZ, len(rows)))
    rows = rows.append_column(schema.EVENT_TIME, times_from_order(pa.array(positions, pa.int64())))
    return Source(
        file=", ".join(fold.name for fold in folds),
        names=tuple(rows.column_names),
        columns=tuple(rows.column_names),
        batches=single_batch(rows),
        lines=lambda requested: [line_numbers[row] for row in requested],
        skipped_rows={REPEATED: repeated},
        notes=(SCORES,),
    )


def _without_repeats(problems: list[str], answers: list[str]) -> list[int]:
    """Positions whose problem and answer differ from the previous one's."""
    pairs = list(zip(problems, answers, strict=True))
    return [position for position in range(len(pairs)) if position == 0 or pairs[position] != pairs[position - 1]]


def _problems(folds: list[Path], skills: Path) -> Source:
    """Items: every answered problem, with its skills' names as tags and the first one as category."""
    names = {str(number): name for name, number in _json(skills).items()}
    skills_by_problem: dict[str, dict[str, None]] = {}
    for fold in folds:
        for _, problems, numbers, _ in _records(fold):
            for problem, number in zip(problems, numbers, strict=True):
                skills_by_problem.setdefault(problem, {})[names.get(number, f"skill {number}")] = None
    skill_lists = [list(found) for found in skills_by_problem.values()]
    rows = pa.table(
        {
            schema.ITEM_ID: pa.array(list(skills_by_problem), pa.string()),
            schema.TITLE: pa.array(
                [f"{found[0]}, problem {problem}" for problem, found in zip(skills_by_problem, skill_lists, strict=True)], pa.string()
            ),
            schema.ITEM_TYPE: constant(LESSON, len(skills_by_problem)),
            schema.CATEGORY_PATH: pa.array([found[:1] for found in skill_lists], pa.list_(pa.string())),
            schema.TAGS: pa.array(skill_lists, pa.list_(pa.string())),
        }
    )
    columns = tuple(rows.column_names)
    return Source(
        file=skills.name, names=columns, columns=columns, batches=single_batch(rows), lines=lambda requested: [1 for _ in requested]
    )


def _records(fold: Path) -> Iterator[Record]:
    """Learner, problems, skills and answers of each learner; DataError E108 where four lines do not form a record."""
    check_text(fold)
    with open_decompressed(fold) as content:
        lines = content.read().decode("utf8", "replace").splitlines()
    for start in range(0, len(lines), LINES_EACH):
        head, *rest = (line.split(",") for line in lines[start : start + LINES_EACH])
        if len(head) != 2 or len(rest) != LINES_EACH - 1 or len({len(values) for values in rest}) != 1:
            raise unreadable(
                fold, f"has no learner in lines {start + 1}–{start + LINES_EACH} (a number and an id, and three lists of one length)"
            )
        yield head[1], rest[0], rest[1], rest[2]


def _json(path: Path) -> dict[str, int]:
    try:
        with open_decompressed(path) as content:
            return dict(json.loads(content.read()))
    except (ValueError, OSError) as error:
        raise unreadable(path, f"is no JSON object ({error})") from error
