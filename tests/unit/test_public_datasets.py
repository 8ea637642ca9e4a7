"""Research data become the contract's tables; what would mislead a model in them is left out and counted."""

import gzip
from pathlib import Path

import pytest

from lodestar.data.contract.report import Report
from lodestar.data.datasets import assistments, open_bandit
from lodestar.data.declaration.sources import OLDER
from lodestar.data.ingest import ingest
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def packed(path: Path, *lines: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def read(folder: Path, target: Path) -> tuple[Report, Tables]:
    return ingest(str(folder), target), Tables(root=target)


@pytest.fixture
def relevance(tmp_path: Path) -> Path:
    given = ("1.33", "2.33", "3.0")
    rows = [f'{row},p{row % 3},"Title, {row % 3}",words {row // 2},{given[row % 3]},{row % 4}' for row in range(12)]
    packed(tmp_path / "set" / "query_title_relevance.csv.gz", "id,product_uid,product_title,search_term,relevance,fold", *rows)
    return tmp_path / "set"


@pytest.fixture
def bandit(tmp_path: Path) -> Path:
    people = ["a,b,c,d", "a,b,c,e", "f,g,h,i", "j,k,l,m", "n,o,p,q"]
    for policy, p in (("random", 0.25), ("bts", 0.1)):
        rows = [f"2019-11-24 00:0{row}:00.5+00:00,{row % 2},{row % 3 + 1},{int(row % 2 == 0)},{p},{people[row % 5]}" for row in range(10)]
        head = "timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3"
        packed(tmp_path / "set" / policy / "impressions.csv.gz", head, *rows)
        context = ["item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3", "0,0.5,x,y,z", "1,0.1,x,y,w"]
        packed(tmp_path / "set" / policy / "item_context.csv.gz", *context)
    return tmp_path / "set"


@pytest.fixture
def learners(tmp_path: Path) -> Path:
    # The second answer stands twice, once for each of its skills; the same problem later is another answer.
    for fold in (1, 2):
        lines = [line for learner in range(3) for line in (f"9,l{fold}{learner}", "7,8,8,9,8", "1,1,2,1,1", "0,1,1,0,1")]
        packed(tmp_path / "set" / f"fold{fold}.csv.gz", *lines)
    packed(tmp_path / "set" / "skill.json.gz", '{"Adding": 1, "Halves": 2}')
    return tmp_path / "set"


def test_a_rated_pair_is_a_rating_with_its_querys_text(relevance: Path, tmp_path: Path) -> None:
    report, found = read(relevance, tmp_path / "out")
    event = found.events().to_pylist()[4]
    assert (event["item_id"], event["query_text"], event["rating"], event["source"], event["event_type"]) == (
        "p1",
        "words 2",
        2.33,
        "fold-0",
        "rating",
    )
    assert [item["title"] for item in found.items().to_pylist()] == ["Title, 0", "Title, 1", "Title, 2"]
    assert report.tables["items"].dropped == {OLDER: 9}
    assert report.order_only


def test_a_bad_product_is_named_by_its_own_line(tmp_path: Path) -> None:
    head = "id,product_uid,product_title,search_term,relevance,fold"
    packed(
        tmp_path / "set" / "query_title_relevance.csv.gz", head, *(f"{row},p{row // 2},t,w{row},2,1" for row in range(10)), "10,,t,w,2,1"
    )
    with pytest.raises(DataError, match="E103") as refused:
        ingest(str(tmp_path / "set"), tmp_path / "out")
    assert refused.value.place is not None
    assert refused.value.place.line == 12


def test_both_policies_logs_keep_their_propensities(bandit: Path, tmp_path: Path) -> None:
    report, found = read(bandit, tmp_path / "out")
    shown = found.impressions().to_pylist()
    assert {(row["arm"], row["propensity"]) for row in shown} == {("random", 0.25), ("bts", 0.1)}
    assert len({row["request_id"] for row in shown}) == len(shown) == 20
    clicks = found.events().to_pylist()
    requests = {row["request_id"]: row for row in shown}
    assert len(clicks) == 10
    for click in clicks:
        request = requests[click["request_id"]]
        assert (click["item_id"], click["user_id"], click["event_time"]) == (request["item_id"], request["user_id"], request["shown_at"])
    assert report.tables["events"].dropped == {open_bandit.NOT_CLICKED: 10}
    assert [item["tags"] for item in found.items().to_pylist()] == [["x", "y", "z"], ["x", "y", "w"]]


def test_one_policys_log_is_a_data_set_as_well(bandit: Path, tmp_path: Path) -> None:
    _, found = read(bandit / "random", tmp_path / "out")
    assert len(found.impressions()) == 10


def test_an_answer_that_stands_once_per_skill_is_called_out(learners: Path, tmp_path: Path) -> None:
    report, found = read(learners, tmp_path / "out")
    mine = [event for event in found.events().to_pylist() if event["user_id"] == "l10"]
    assert [(event["item_id"], event["progress"]) for event in mine] == [("7", 0), ("8", 1), ("9", 0), ("8", 1)]
    assert {event["source"] for event in found.events().to_pylist()} == {"fold1", "fold2"}
    assert report.tables["events"].dropped == {assistments.REPEATED: 6}
    assert "a leak: 6" in report.markdown()
    eight = next(item for item in found.items().to_pylist() if item["item_id"] == "8")
    assert (eight["title"], eight["tags"], eight["item_type"]) == ("Adding, problem 8", ["Adding", "Halves"], "lesson")


def test_lists_that_do_not_belong_together_are_an_error(learners: Path, tmp_path: Path) -> None:
    packed(learners / "fold2.csv.gz", "1,l", "7,8", "1", "0,1")
    with pytest.raises(DataError, match="lines 1–4"):
        ingest(str(learners), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("home-depot", {"items": 45_783, "events": 59_327}),
        ("open-bandit-men", {"items": 34, "events": 115, "impressions": 20_000}),
        ("assistments-2009", {"items": 16_634, "events": 216_987}),
        ("movielens-100k", {"items": 1_682, "events": 100_000}),
    ],
)
def test_the_real_sets_come_in_whole(name: str, kept: dict[str, int], tmp_path: Path) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not beside the project")
    report = ingest(str(SHARED / name), tmp_path / "out")
    assert {table: found.rows_kept for table, found in report.tables.items() if found.rows_kept} == kept
    for table in report.tables.values():
        assert table.rows_in == table.rows_kept + sum(table.dropped.values())
