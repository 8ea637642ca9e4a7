"""ASSISTments 2009: what learners answered, problem after problem, and whether it was right.

A problem that exercises several skills stands once for each of them, one row after the other with the same answer. Whoever has seen the
first knows the others: a model that is judged on such rows looks far better than it is. They are left out here, and counted. A learner
takes four lines: a number and an id, the problems, the skills, the answers. Only the order is known.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lodestar import schema
from lodestar.data.dataset import DataSet, constant, moments, one
from lodestar.data.source import Source, check_text, unreadable, whole
from lodestar.data.unpacked import open_bytes

SKILLS, PROBLEMS = "skill.json.gz", "problems.json.gz"
FOLDS = "fold*.csv.gz"
LESSON = "lesson"
LINES_EACH = 4
ANSWER_LINE = 3
REPEATED = "the same answer once more, for another skill of the same problem: a leak"
SCORES = "progress is the score of an answer, 0 or 1; source is the fold, which holds whole learners"

Record = tuple[str, list[str], list[str], list[str]]


def find(folder: Path) -> DataSet | None:
    folds = sorted(folder.glob(FOLDS))
    if not folds or not (folder / SKILLS).is_file():
        return None
    tables = {schema.EVENTS.name: one(_answers, folds), schema.ITEMS.name: one(_problems, folds, folder / SKILLS)}
    return DataSet(tables=tables, files=(*folds, folder / SKILLS), order_only=True)


def _answers(folds: list[Path]) -> Source:
    columns: dict[str, list[str]] = {name: [] for name in (schema.USER_ID, schema.ITEM_ID, schema.PROGRESS, schema.SOURCE)}
    places: list[int] = []
    line_of: list[int] = []
    repeated = 0
    for fold in folds:
        for number, (learner, problems, _, answers) in enumerate(_records(fold)):
            kept = _kept(problems, answers)
            repeated += len(problems) - len(kept)
            columns[schema.USER_ID] += [learner] * len(kept)
            columns[schema.ITEM_ID] += [problems[place] for place in kept]
            columns[schema.PROGRESS] += [answers[place] for place in kept]
            columns[schema.SOURCE] += [fold.name.partition(".")[0]] * len(kept)
            places += kept
            line_of += [number * LINES_EACH + ANSWER_LINE + 1] * len(kept)
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    rows = rows.append_column(schema.EVENT_TYPE, constant(schema.EventType.QUIZ, len(rows)))
    rows = rows.append_column(schema.EVENT_TIME, moments(pa.array(places, pa.int64())))
    return Source(
        file=", ".join(fold.name for fold in folds),
        names=tuple(rows.column_names),
        columns=tuple(rows.column_names),
        batches=whole(rows),
        lines=lambda asked: [line_of[row] for row in asked],
        left_out={REPEATED: repeated},
        notes=(SCORES,),
    )


def _kept(problems: list[str], answers: list[str]) -> list[int]:
    """Places that do not repeat the one before in problem and answer."""
    given = list(zip(problems, answers, strict=True))
    return [place for place in range(len(given)) if place == 0 or given[place] != given[place - 1]]


def _problems(folds: list[Path], skills: Path) -> Source:
    """Every problem that is answered, with the names of its skills; the first is its category."""
    names = {str(number): name for name, number in _json(skills).items()}
    exercised: dict[str, dict[str, None]] = {}
    for fold in folds:
        for _, problems, numbers, _ in _records(fold):
            for problem, number in zip(problems, numbers, strict=True):
                exercised.setdefault(problem, {})[names.get(number, f"skill {number}")] = None
    kinds = [list(found) for found in exercised.values()]
    rows = pa.table(
        {
            schema.ITEM_ID: pa.array(list(exercised), pa.string()),
            schema.TITLE: pa.array(
                [f"{found[0]}, problem {problem}" for problem, found in zip(exercised, kinds, strict=True)], pa.string()
            ),
            schema.ITEM_TYPE: constant(LESSON, len(exercised)),
            schema.CATEGORY_PATH: pa.array([found[:1] for found in kinds], pa.list_(pa.string())),
            schema.TAGS: pa.array(kinds, pa.list_(pa.string())),
        }
    )
    columns = tuple(rows.column_names)
    return Source(file=skills.name, names=columns, columns=columns, batches=whole(rows), lines=lambda asked: [1 for _ in asked])


def _records(fold: Path) -> Iterator[Record]:
    """Learner, problems, skills and answers; DataError E107 where four lines do not belong together."""
    check_text(fold)
    with open_bytes(fold) as content:
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
        with open_bytes(path) as content:
            return dict(json.loads(content.read()))
    except (ValueError, OSError) as error:
        raise unreadable(path, f"is no JSON object ({error})") from error
