"""Ground truth of the simulated shop: items, user interests, item-to-item transitions and examination probabilities.

The next item depends on the previous item *and* the user's style: co-occurrence counts see the former, a sequence model both.
Shape letters: U users, N items, T topics, S styles, P items of a candidate pool, F favourite topics.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.data.simulator.names import STYLES
from lodestar.schema.arrays import Float, Floats, Int, Ints, Longs, Num
from lodestar.schema.time_units import DAY_US, SECOND_US

END_US = 1_767_225_600 * SECOND_US  # 2026-01-01T00:00:00Z: the log ends here, whatever its length

NUM_STYLES = len(STYLES)
ITEMS_PER_TOPIC, MAX_TOPICS = 12, 4096
FAVOURITES = 5
LIST_LENGTH = 6
POOL = 40  # candidates that a list is drawn from
POOL_FROM_START = 24  # of these, the number that exist from the first day
EXAMINED = np.array([0.95, 0.75, 0.55, 0.4, 0.3, 0.22])  # probability that a user examines a position
NEXT_TOPICS = np.array([0.45, 0.45, 0.1])  # transition probabilities: to the same topic, and to two others
APPEAL = 0.4  # standard deviation of an item's log popularity within its topic
OWN_STYLE = 2.0  # odds factor of an item of the user's own style
ON_SALE_FROM_START, ARRIVALS_END = 0.75, 0.85
HERE_FROM_START = 0.8


@dataclass(frozen=True, kw_only=True)
class Items:
    """Items, [N] unless stated; `on_topic` lists them by topic with offsets `starts` [T + 1].

    `cumulative_likelihood` [S, N + 1] holds cumulative sums, in that order, of how likely each item is for a user of a style.
    """

    topic: Int[Ints, " items"]
    style: Int[Ints, " items"]
    appeal: Float[NDArray[np.float64], " items"]  # popularity within its topic
    price: Float[NDArray[np.float64], " items"]
    created_us: Int[Longs, " items"]
    companion: Int[Ints, " items"]  # the item that complements it, for every user
    next_topics: Int[Ints, "topics styles next"]  # [T, S, 3]: the topics that follow, by style
    pool: Int[Ints, "topics pool"]  # [T, P]
    on_topic: Int[Ints, " items"]
    starts: Int[NDArray[np.int64], " topics+1"]  # [T + 1]
    cumulative_likelihood: Float[NDArray[np.float64], "styles items+1"]

    @property
    def num_topics(self) -> int:
        """Number of topics, T."""
        return len(self.pool)

    def draw(self, topic: Int[Ints, " drawn"], style: Int[Ints, " drawn"], rng: np.random.Generator) -> Int[Ints, " drawn"]:
        """Draw one item for each pair of topic and style, in proportion to its likelihood."""
        items = np.empty(len(topic), dtype=np.int32)
        share = rng.random(len(topic))
        for style_index in range(NUM_STYLES):
            rows = np.flatnonzero(style == style_index)
            low, high = self.starts[topic[rows]], self.starts[topic[rows] + 1]
            value = self.cumulative_likelihood[style_index, low] + share[rows] * (
                self.cumulative_likelihood[style_index, high] - self.cumulative_likelihood[style_index, low]
            )
            index = np.clip(np.searchsorted(self.cumulative_likelihood[style_index], value, side="right") - 1, low, high - 1)
            items[rows] = self.on_topic[index]
        return items


@dataclass(frozen=True, kw_only=True)
class Users:
    """Users, [U] unless stated; interests drift from `early` to `late` [U, F]: shares of the topics `favourites`, which sum to 1."""

    favourites: Int[Ints, "users favourites"]  # [U, F]
    early: Float[Floats, "users favourites"]
    late: Float[Floats, "users favourites"]
    style: Int[Ints, " users"]
    activity: Float[Floats, " users"]
    created_us: Int[Longs, " users"]


def draw_users(users: int, num_topics: int, days: int, rng: np.random.Generator) -> Users:
    """Draw users with their interests, style, activity and sign-up time; most signed up before the log of `days` days."""
    likes = (-np.log(rng.random((2, users, FAVOURITES), dtype=np.float32))) ** 2
    shares = likes / likes.sum(axis=2, keepdims=True)
    start_us = END_US - days * DAY_US
    joined = np.where(rng.random(users) < HERE_FROM_START, -rng.random(users) * 365 * DAY_US, rng.random(users) * 0.7 * days * DAY_US)
    return Users(
        favourites=rng.integers(0, num_topics, size=(users, FAVOURITES), dtype=np.int32),
        early=shares[0],
        late=shares[1],
        style=rng.integers(0, NUM_STYLES, size=users, dtype=np.int32),
        activity=np.exp(np.clip(rng.normal(0, 0.5, users), -1.5, 1.5)).astype(np.float32),
        created_us=start_us + joined.astype(np.int64),
    )


def draw_items(items: int, days: int, rng: np.random.Generator) -> Items:
    """Draw items with topic, style, popularity, price and arrival time, and the transitions between topics."""
    num_topics = max(NEXT_TOPICS.size, min(items // ITEMS_PER_TOPIC, MAX_TOPICS))
    topic = rng.permutation(np.arange(items, dtype=np.int32) % num_topics).astype(np.int32)
    style = rng.integers(0, NUM_STYLES, size=items, dtype=np.int32)
    appeal = np.exp(rng.normal(0, APPEAL, items))
    by_topic = np.argsort(topic, kind="stable").astype(np.int32)
    starts = np.searchsorted(topic[by_topic], np.arange(num_topics + 1))
    likelihood = appeal[by_topic] * np.where(style[by_topic] == np.arange(NUM_STYLES)[:, None], OWN_STYLE, 1.0)
    cumulative = np.concatenate([np.zeros((NUM_STYLES, 1)), np.cumsum(likelihood, axis=1)], axis=1)
    created_us = _arrivals(items, days, rng)
    base = np.exp(rng.normal(3.2, 0.7, num_topics))
    return Items(
        topic=topic,
        style=style,
        appeal=appeal,
        price=np.round(base[topic] * np.exp(rng.normal(0, 0.35, items)), 2),  # pyrefly: ignore[bad-argument-type]
        created_us=created_us,
        companion=rng.permutation(items).astype(np.int32),
        next_topics=_next_topics(num_topics, rng),
        pool=_pools(by_topic, starts, created_us < END_US - days * DAY_US),
        on_topic=by_topic,
        starts=starts,
        cumulative_likelihood=cumulative,
    )


def _arrivals(items: int, days: int, rng: np.random.Generator) -> Longs:
    """Arrival times of items (UTC µs), shuffled: most before the log, the others within it."""
    start_us, old = END_US - days * DAY_US, round(items * ON_SALE_FROM_START)
    age = rng.random(old) * 365 * DAY_US
    arrival = rng.random(items - old) * ARRIVALS_END * days * DAY_US
    return rng.permutation(np.concatenate([start_us - age.astype(np.int64) - 1, start_us + arrival.astype(np.int64)]))


def _next_topics(num_topics: int, rng: np.random.Generator) -> Ints:
    next_topics = rng.integers(0, num_topics, size=(num_topics, NUM_STYLES, len(NEXT_TOPICS)), dtype=np.int32)
    next_topics[:, :, 0] = np.arange(num_topics)[:, None]
    return next_topics


def _pools(by_topic: Ints, starts: NDArray[np.int64], is_old: NDArray[np.bool_]) -> Ints:
    """Candidate pools of topics, [T, P]: the topic's items, then its neighbours', enough of them present from the first day."""
    num_topics, size = len(starts) - 1, min(POOL, len(by_topic))
    pools = np.empty((num_topics, size), dtype=np.int32)
    for topic in range(num_topics):
        ring = by_topic[(starts[topic] + np.arange(min(4 * POOL, len(by_topic)))) % len(by_topic)]
        old, new = ring[is_old[ring]], ring[~is_old[ring]]
        chosen = np.concatenate(
            [old[:POOL_FROM_START], new[: size - POOL_FROM_START], old[POOL_FROM_START:], new[size - POOL_FROM_START :]]
        )
        pools[topic] = chosen[:size]
    return pools


def truth(shop: Items, users: Users) -> dict[str, Num[NDArray[Any], "..."]]:
    """Ground truth by name, for comparison with what a model finds: item, user and transition parameters, examination."""
    return {
        "item_topic": shop.topic,
        "item_style": shop.style,
        "item_appeal": shop.appeal,
        "item_companion": shop.companion,
        "next_topics": shop.next_topics,
        "next_topics_share": NEXT_TOPICS,
        "user_style": users.style,
        "user_favourites": users.favourites,
        "user_interest_early": users.early,
        "user_interest_late": users.late,
        "examined": EXAMINED,
    }
