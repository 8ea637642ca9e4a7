"""A shop's hidden truth: what its goods are, what people like, what goes with what, and how far down a list people look.

What someone takes next hangs on the item before it *and* on the style of the person: counting pairs sees the first, a sequence model both.
Letters in shapes: U users, N items, T topics, S styles, P items of a pool, F favourite topics.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.data.words import STYLES

Ints = NDArray[np.int32]
Times = NDArray[np.int64]
Floats = NDArray[np.float32]

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
END_US = 1_767_225_600 * SECOND_US  # 2026-01-01T00:00:00Z: the log ends here, whatever its length

NUM_STYLES = len(STYLES)
ITEMS_PER_TOPIC, MOST_TOPICS = 12, 4096
FAVOURITES = 5
LIST_LENGTH = 6
POOL = 40  # what a list is drawn from
POOL_FROM_START = 24  # of these, so many exist from the first day
EXAMINED = np.array([0.95, 0.75, 0.55, 0.4, 0.3, 0.22])  # the chance that a position is looked at at all
NEXT_TOPICS = np.array([0.45, 0.45, 0.1])  # the same topic, and two others
APPEAL = 0.4  # spread of how much items appeal to anyone, on the scale of logs
OWN_STYLE = 2.0  # how much likelier an item of the own style is
ON_SALE_FROM_START, ARRIVALS_END = 0.75, 0.85
HERE_FROM_START = 0.8


@dataclass(frozen=True, kw_only=True)
class Goods:
    """The items; `on_topic` lists them by topic, and `reach` [S, N] adds up how likely each is for someone of a style."""

    topic: Ints
    style: Ints
    appeal: NDArray[np.float64]  # [N]: how readily anyone takes it, beside the others of its topic
    price: NDArray[np.float64]
    created_us: Times
    companion: Ints  # [N]: the one item that goes with it, whoever asks
    next_topics: Ints  # [T, S, 3]: where someone of a style goes on to
    pool: Ints  # [T, P]
    on_topic: Ints
    starts: NDArray[np.int64]  # [T + 1]
    reach: NDArray[np.float64]

    @property
    def num_topics(self) -> int:
        return len(self.pool)

    def draw(self, topic: Ints, style: Ints, chance: np.random.Generator) -> Ints:
        """One item of each topic, liked by the style."""
        items = np.empty(len(topic), dtype=np.int32)
        share = chance.random(len(topic))
        for one in range(NUM_STYLES):
            mine = np.flatnonzero(style == one)
            low, high = self.starts[topic[mine]], self.starts[topic[mine] + 1]
            value = self.reach[one, low] + share[mine] * (self.reach[one, high] - self.reach[one, low])
            place = np.clip(np.searchsorted(self.reach[one], value, side="right") - 1, low, high - 1)
            items[mine] = self.on_topic[place]
        return items


@dataclass(frozen=True, kw_only=True)
class People:
    """The users; what they like drifts from `early` to `late`, shares of `favourites` that add up to 1."""

    favourites: Ints  # [U, F]
    early: Floats
    late: Floats
    style: Ints
    activity: Floats
    created_us: Times


def people(users: int, num_topics: int, days: int, chance: np.random.Generator) -> People:
    likes = (-np.log(chance.random((2, users, FAVOURITES), dtype=np.float32))) ** 2
    shares = likes / likes.sum(axis=2, keepdims=True)
    start_us = END_US - days * DAY_US
    joined = np.where(
        chance.random(users) < HERE_FROM_START, -chance.random(users) * 365 * DAY_US, chance.random(users) * 0.7 * days * DAY_US
    )
    return People(
        favourites=chance.integers(0, num_topics, size=(users, FAVOURITES), dtype=np.int32),
        early=shares[0],
        late=shares[1],
        style=chance.integers(0, NUM_STYLES, size=users, dtype=np.int32),
        activity=np.exp(np.clip(chance.normal(0, 0.5, users), -1.5, 1.5)).astype(np.float32),
        created_us=start_us + joined.astype(np.int64),
    )


def goods(items: int, days: int, chance: np.random.Generator) -> Goods:
    num_topics = max(NEXT_TOPICS.size, min(items // ITEMS_PER_TOPIC, MOST_TOPICS))
    topic = chance.permutation(np.arange(items, dtype=np.int32) % num_topics).astype(np.int32)
    style = chance.integers(0, NUM_STYLES, size=items, dtype=np.int32)
    appeal = np.exp(chance.normal(0, APPEAL, items))
    by_topic = np.argsort(topic, kind="stable").astype(np.int32)
    starts = np.searchsorted(topic[by_topic], np.arange(num_topics + 1))
    likely = appeal[by_topic] * np.where(style[by_topic] == np.arange(NUM_STYLES)[:, None], OWN_STYLE, 1.0)
    reach = np.concatenate([np.zeros((NUM_STYLES, 1)), np.cumsum(likely, axis=1)], axis=1)
    created_us = _arrivals(items, days, chance)
    base = np.exp(chance.normal(3.2, 0.7, num_topics))
    return Goods(
        topic=topic,
        style=style,
        appeal=appeal,
        price=np.round(base[topic] * np.exp(chance.normal(0, 0.35, items)), 2),
        created_us=created_us,
        companion=chance.permutation(items).astype(np.int32),
        next_topics=_next_topics(num_topics, chance),
        pool=_pools(by_topic, starts, created_us < END_US - days * DAY_US),
        on_topic=by_topic,
        starts=starts,
        reach=reach,
    )


def _arrivals(items: int, days: int, chance: np.random.Generator) -> Times:
    """Most items are older than the log; the others, in no order of their own, arrive while it runs."""
    start_us, old = END_US - days * DAY_US, round(items * ON_SALE_FROM_START)
    age = chance.random(old) * 365 * DAY_US
    arrival = chance.random(items - old) * ARRIVALS_END * days * DAY_US
    return chance.permutation(np.concatenate([start_us - age.astype(np.int64) - 1, start_us + arrival.astype(np.int64)]))


def _next_topics(num_topics: int, chance: np.random.Generator) -> Ints:
    following = chance.integers(0, num_topics, size=(num_topics, NUM_STYLES, len(NEXT_TOPICS)), dtype=np.int32)
    following[:, :, 0] = np.arange(num_topics)[:, None]
    return following


def _pools(by_topic: Ints, starts: NDArray[np.int64], is_old: NDArray[np.bool_]) -> Ints:
    """The topic's items and then its neighbours', enough of them there from the first day that no list is ever forced."""
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


def truth(shop: Goods, users: People) -> dict[str, NDArray[Any]]:
    """What a model is meant to find out."""
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
