"""The simulated shop is the same every time, keeps the contract, and its log says what its truth says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.ingest import ingest
from lodestar.data.simulator import names
from lodestar.data.simulator.simulator import TRUTH, SimulatorConfig, main, simulate
from lodestar.data.simulator.world import END_US, EXAMINED, ITEMS_PER_TOPIC, LIST_LENGTH, NEXT_TOPICS
from lodestar.data.simulator.writer import FLUSH_ROWS, WRITTEN
from lodestar.data.tables.tables import Tables, file_name
from lodestar.errors import ConfigError, UsageError
from lodestar.io import npz, storage
from lodestar.schema.time_units import DAY_US

SMALL = SimulatorConfig(users=40, items=60, events=1500, days=20)
STYLES = list(names.STYLES)
Truth = dict[str, NDArray[Any]]


class Shop:
    """The files of one simulation as data frames, times in µs, ids as row numbers."""

    def __init__(self, root: Path, config: SimulatorConfig) -> None:
        simulate(config, root)
        self.config, self.truth, found = config, npz.load(root / TRUTH), Tables(root=root)
        self.items, self.users = _frame(found.items()), _frame(found.users())
        self.events, self.impressions = _frame(found.events()), _frame(found.impressions())
        self.nouns = [noun for _, noun in names.topics(len(self.truth["next_topics"]))]

    @property
    def interactions(self) -> pd.DataFrame:
        """What happened to items, in the order in which each person's log has it."""
        return self.events[self.events[schema.EVENT_TYPE] != schema.EventType.SEARCH].astype({schema.ITEM_ID: int})

    @property
    def clicks(self) -> pd.DataFrame:
        clicks: pd.DataFrame = self.interactions[self.interactions[schema.EVENT_TYPE] == schema.EventType.CLICK]
        return clicks

    @property
    def searches(self) -> pd.DataFrame:
        found = self.events[self.events[schema.EVENT_TYPE] == schema.EventType.SEARCH]
        asked = found[schema.QUERY_TEXT].str.split(" ", n=1, expand=True)
        searches: pd.DataFrame = found.assign(style=asked[0].map(STYLES.index), topic=asked[1].map(self.nouns.index))
        return searches


def _frame(table: Any) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            frame[name] = frame[name].astype("int64")
    for name in {schema.USER_ID, schema.ITEM_ID} & set(frame.columns):
        frame[name] = pd.to_numeric(frame[name].str[1:]) - 1
    return frame


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"), SimulatorConfig())


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More people than live at a time, and more rows than are kept waiting."""
    root = tmp_path_factory.mktemp("crowded")
    simulate(SimulatorConfig(users=20_000, items=100, events=250_000), root)
    return root


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        simulate(SimulatorConfig(users=40, items=60, events=1500, seed=seed), tmp_path / name)
    assert storage.digest(tmp_path / "one") == storage.digest(tmp_path / "again")
    for file in (*map(file_name, WRITTEN), TRUTH):
        assert (tmp_path / "one" / file).read_bytes() != (tmp_path / "other" / file).read_bytes(), file


def test_there_are_about_as_many_events_as_asked_for_and_exactly_as_many_people_and_items(shop: Shop, crowded: Path) -> None:
    assert len(shop.events) == pytest.approx(shop.config.events, rel=0.03)
    assert (len(shop.users), len(shop.items)) == (shop.config.users, shop.config.items)
    assert set(shop.events[schema.USER_ID]) == set(shop.users[schema.USER_ID])
    assert pq.read_metadata(crowded / "events.parquet").num_rows == pytest.approx(250_000, rel=0.05)


def test_all_tables_pass_the_checks_of_the_contract_without_a_remark(tmp_path: Path) -> None:
    report = ingest("simulator:users=40,items=60,events=1500", tmp_path / "out")
    for name in (table.name for table in WRITTEN):
        table = report.tables[name]
        assert table.rows_in == table.rows_kept > 0, name
        assert [*table.dropped, *table.derived, *table.notes, *table.ignored] == [], name


def test_a_row_group_is_bounded_and_in_the_order_of_time(crowded: Path) -> None:
    for table, time in ((schema.EVENTS, schema.EVENT_TIME), (schema.IMPRESSIONS, schema.SHOWN_AT)):
        file = pq.ParquetFile(crowded / file_name(table))
        assert file.num_row_groups > 1
        for group in range(file.num_row_groups):
            times = file.read_row_group(group, columns=[time])[time].cast("int64").to_numpy()
            assert len(times) <= 1.5 * FLUSH_ROWS
            assert (np.diff(times) >= 0).all()


def test_a_persons_rows_are_in_the_order_of_time_and_sessions_do_not_overlap(shop: Shop) -> None:
    for _, mine in shop.events.groupby(schema.USER_ID):
        assert mine[schema.EVENT_TIME].is_monotonic_increasing
        assert mine[schema.SESSION_ID].is_monotonic_increasing
    assert shop.events[schema.EVENT_ID].is_unique


@pytest.mark.parametrize("most", [SMALL, SimulatorConfig(users=30, items=60, events=30 * 60 * 2, days=2)])
def test_nothing_happens_before_its_person_and_item_are_there_or_after_the_end(most: SimulatorConfig, tmp_path: Path) -> None:
    shop = Shop(tmp_path, most)
    for rows, time in ((shop.interactions, schema.EVENT_TIME), (shop.impressions, schema.SHOWN_AT)):
        born = np.maximum(
            shop.items[schema.CREATED_AT].to_numpy()[rows[schema.ITEM_ID]], shop.users[schema.CREATED_AT].to_numpy()[rows[schema.USER_ID]]
        )
        assert (rows[time] >= born).all()
        assert rows[time].min() >= END_US - most.days * DAY_US
        assert rows[time].max() < END_US


def test_items_arrive_while_the_log_runs_and_get_interactions(shop: Shop) -> None:
    is_new = shop.items[schema.CREATED_AT] >= END_US - shop.config.days * DAY_US
    assert is_new.mean() == pytest.approx(0.25, abs=0.01)
    assert is_new[shop.interactions[schema.ITEM_ID]].mean() > 0.08


def test_every_click_is_on_an_impression_of_its_request_place_item_and_person(shop: Shop) -> None:
    key = [schema.REQUEST_ID, schema.POSITION, schema.ITEM_ID, schema.USER_ID]
    shown = shop.clicks.merge(shop.impressions, on=key, how="left", validate="one_to_one", suffixes=("", "_shown"))
    assert shown[schema.SHOWN_AT].notna().all()
    assert (shown[schema.EVENT_TIME] > shown[schema.SHOWN_AT]).all()
    assert (shown[schema.SESSION_ID] == shown[schema.SESSION_ID + "_shown"]).all()
    assert (
        shop.impressions.groupby(schema.REQUEST_ID)[schema.POSITION].agg(list).map(lambda places: places == [*range(1, LIST_LENGTH + 1)])
    ).all()


def test_lower_places_are_looked_at_less_by_as_much_as_the_truth_says(shop: Shop) -> None:
    clicks = shop.clicks[schema.POSITION].value_counts().sort_index().to_numpy()
    assert (np.diff(clicks) < 0).all()
    # A place further down shows what is liked a little less, too.
    assert clicks[-1] / clicks[0] == pytest.approx(EXAMINED[-1] / EXAMINED[0], rel=0.3)


def test_weighing_by_propensity_undoes_what_the_policy_favours(shop: Shop) -> None:
    first = shop.impressions[shop.impressions[schema.POSITION] == 1].merge(
        shop.searches[[schema.REQUEST_ID, "topic"]], on=schema.REQUEST_ID
    )
    is_topic = shop.truth["item_topic"][first[schema.ITEM_ID]] == first["topic"]
    created = shop.items[schema.CREATED_AT].to_numpy()
    there = created[None, :] <= first[schema.SHOWN_AT].to_numpy()[:, None]
    possible = (there & (shop.truth["item_topic"][None, :] == first["topic"].to_numpy()[:, None])).sum(axis=1).mean()
    weight = 1 / first[schema.PROPENSITY]
    weighed = is_topic * weight
    assert weighed.mean() == pytest.approx(possible, abs=4 * weighed.std() / len(weighed) ** 0.5)
    assert is_topic.mean() > 1.2 * weighed.sum() / weight.sum()


def test_an_item_is_clicked_once_and_bought_out_of_the_cart(shop: Shop) -> None:
    firsts = shop.interactions.drop_duplicates([schema.USER_ID, schema.ITEM_ID])
    assert set(shop.clicks[schema.EVENT_ID]) <= set(firsts[schema.EVENT_ID])
    assert set(firsts[schema.EVENT_TYPE]) == {schema.EventType.VIEW, schema.EventType.CLICK}
    key = [schema.SESSION_ID, schema.ITEM_ID]
    kinds = shop.interactions.groupby(key)[schema.EVENT_TYPE].agg(list)
    bought = kinds[kinds.map(lambda kind: schema.EventType.PURCHASE in kind)]
    assert len(bought) > 100
    # pyrefly: ignore[missing-attribute]
    assert bought.map(lambda kind: kind.index(schema.EventType.ADD_TO_CART) < kind.index(schema.EventType.PURCHASE)).all()
    paid = shop.interactions[shop.interactions[schema.EVENT_TYPE] == schema.EventType.PURCHASE]
    assert (paid[schema.VALUE].to_numpy() == shop.items[schema.PRICE].to_numpy()[paid[schema.ITEM_ID]]).all()


def test_people_mostly_go_on_to_what_is_new_to_them(shop: Shop) -> None:
    steps = shop.interactions[shop.interactions[schema.EVENT_TYPE].isin(["view", "click"])]
    again = steps.duplicated([schema.USER_ID, schema.ITEM_ID])
    elsewhere = steps[schema.ITEM_ID] != steps.groupby(schema.USER_ID)[schema.ITEM_ID].shift()
    assert (again & elsewhere).sum() == 0  # an item that was seen before is looked at again at once, or not at all
    assert 0.3 < again.mean() < 0.6


def test_words_carry_topic_and_style(shop: Shop) -> None:
    for title, description, topic, style in zip(
        shop.items[schema.TITLE], shop.items[schema.DESCRIPTION], shop.truth["item_topic"], shop.truth["item_style"], strict=True
    ):
        assert title.endswith(f" {shop.nouns[topic]}")
        assert title.split()[0].lower() in names.STYLES[STYLES[style]]
        assert f"{STYLES[style]} {shop.nouns[topic]}" in description
    assert shop.items[schema.TITLE].is_unique


def test_a_search_asks_for_the_persons_style_and_lists_show_what_was_asked_for(shop: Shop) -> None:
    own = shop.searches["style"].to_numpy() == shop.truth["user_style"][shop.searches[schema.USER_ID]]
    assert own.mean() > 0.95
    shown = shop.impressions.merge(shop.searches[[schema.REQUEST_ID, schema.QUERY_TEXT, "topic"]], on=schema.REQUEST_ID)
    assert (shown[schema.QUERY_TEXT + "_x"] == shown[schema.QUERY_TEXT + "_y"]).all()
    share = ITEMS_PER_TOPIC / shop.config.items
    assert (shop.truth["item_topic"][shown[schema.ITEM_ID]] == shown["topic"]).mean() > 5 * share


def test_interests_drift_from_the_early_to_the_late(shop: Shop) -> None:
    truth, interactions = shop.truth, shop.interactions.drop_duplicates([schema.USER_ID, schema.ITEM_ID])
    user, topic = interactions[schema.USER_ID].to_numpy(), truth["item_topic"][interactions[schema.ITEM_ID]]
    is_liked = truth["user_favourites"][user] == topic[:, None]
    towards_late = ((truth["user_interest_late"] - truth["user_interest_early"])[user] * is_liked).sum(axis=1)
    lateness = 1 - (END_US - interactions[schema.EVENT_TIME].to_numpy()) / (shop.config.days * DAY_US)
    assert towards_late[lateness < 0.2].mean() < -0.01
    assert towards_late[lateness > 0.8].mean() > 0.01


def test_what_comes_next_hangs_on_the_last_item_and_on_the_persons_style(shop: Shop) -> None:
    truth = shop.truth
    walked = shop.interactions.drop_duplicates([schema.USER_ID, schema.ITEM_ID]).sort_values(
        [schema.USER_ID, schema.EVENT_TIME], kind="stable"
    )
    same = (walked[schema.SESSION_ID].to_numpy()[1:] == walked[schema.SESSION_ID].to_numpy()[:-1]).nonzero()[0]
    topic = truth["item_topic"][walked[schema.ITEM_ID]]
    style = truth["user_style"][walked[schema.USER_ID]]
    onward = truth["next_topics"][topic[same], style[same], 1]
    elsewhere = truth["next_topics"][topic[same], (style[same] + 1) % len(STYLES), 1]
    assert (topic[same + 1] == onward).mean() == pytest.approx(0.85 * NEXT_TOPICS[1], abs=0.05)
    assert (topic[same + 1] == elsewhere).mean() < 0.15


def test_the_truth_is_complete(shop: Shop) -> None:
    users, items, topics = shop.config.users, shop.config.items, shop.config.items // ITEMS_PER_TOPIC
    shapes = {name: values.shape for name, values in shop.truth.items()}
    assert shapes == {
        **dict.fromkeys(("item_topic", "item_style", "item_appeal", "item_companion"), (items,)),
        **dict.fromkeys(("user_favourites", "user_interest_early", "user_interest_late"), (users, 5)),
        "user_style": (users,),
        "next_topics": (topics, len(STYLES), 3),
        "next_topics_share": (3,),
        "examined": (LIST_LENGTH,),
    }
    for name in ("user_interest_early", "user_interest_late"):
        assert shop.truth[name].sum(axis=1) == pytest.approx(np.ones(users), abs=1e-5)


BAD = [
    "simulator:users=4",
    "simulator:items=39",
    "simulator:days=1",
    "simulator:users=100,events=999",
    "simulator:users=100,days=2,events=12001",
    "simulator:users=10000001,events=1000000000",
    "simulator:users=many",
    "simulator:users=-5",
    "simulator:users=",
    "simulator:users=5,users=6",
    "simulator:shoppers=5",
    "simulator:seed=" + "9" * 5000,
    "simulation",
]


@pytest.mark.parametrize("text", BAD)
def test_a_setting_that_makes_no_shop_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError):
        SimulatorConfig.parse(text)


def test_settings_are_read_and_the_rest_is_left() -> None:
    assert SimulatorConfig.parse("simulator") == SimulatorConfig()
    assert SimulatorConfig.parse("simulator:seed=3,users=500") == SimulatorConfig(users=500, seed=3)
    with pytest.raises(ConfigError, match="1000–6000000 events, got 999: change"):
        SimulatorConfig(users=100, days=1000, events=999)


def _command(target: Path, *more: str) -> Iterator[str]:
    yield from ("--users", "30", "--items", "50", "--events", "800", "--output", str(target), *more)


def test_the_command_writes_the_same_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*_command(tmp_path / "a" / "b")]) == 0
    (tmp_path / "library").mkdir()
    simulate(SimulatorConfig(users=30, items=50, events=800), tmp_path / "library")
    assert storage.digest(tmp_path / "a" / "b") == storage.digest(tmp_path / "library")
    with pytest.raises(SystemExit) as refused:
        main([*_command(tmp_path / "out", "--seed", "-1")])
    assert refused.value.code == 2
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    assert main([*_command(tmp_path / "file")]) == 2
    assert "Traceback" not in capsys.readouterr().err
