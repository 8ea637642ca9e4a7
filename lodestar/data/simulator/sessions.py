"""Simulated sessions, many users at once: impressions, clicks by a position-based model, then views from item to item.

Shape suffixes: B users with a session, K positions of a list, P items of a candidate pool, N items.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lodestar.data.simulator.world import EXAMINED, LIST_LENGTH, NEXT_TOPICS, NUM_STYLES, Items, Users
from lodestar.schema.arrays import Doubles, Float64, Int, Ints, Longs
from lodestar.schema.time_units import SECOND_US

# Probabilities that a session is in the user's own style, and that it continues from the last session's topic.
SAME_STYLE, SAME_TOPIC = 0.97, 0.85
SEARCHES = 0.35
MIN_UTILITY = 1 / 3  # exploration: lower bound of utilities (at most 1), so that every item of a pool may be drawn
CLICKED = 0.9  # share of examined and wanted positions that are clicked
WANTED_TOPIC, WANTED_STYLE, WANTED_ANYWAY = 0.45, 0.35, 0.03
GOES_ON, MAX_STEPS = 0.8, 12
P_RANDOM_STEP, ACCESSORIES = 0.15, 0.08  # probability of a random step, and of a step to the item's companion
LOOKS = 4  # unseen items that are tried before a seen one is viewed again
AGAIN, TO_CART, TO_PURCHASE = 0.7, 0.1, 0.5  # share of interactions viewed again, share added to cart, and purchased from there
MISSING = -1


class Action(IntEnum):
    """Type of a row of the event log."""

    SEARCH = 0
    CLICK = 1
    VIEW = 2
    ADD_TO_CART = 3
    PURCHASE = 4


@dataclass(frozen=True, kw_only=True)
class Actions:
    """Events as arrays in parallel; -1 where there is no item, position or query. A query is `topic * NUM_STYLES + style`."""

    act: Int[NDArray[np.int8], " events"]
    user: Int[Ints, " events"]
    item: Int[Ints, " events"]
    time: Int[Longs, " events"]
    session: Int[NDArray[np.int64], " events"]
    position: Int[Ints, " events"]
    query: Int[Ints, " events"]


@dataclass(frozen=True, kw_only=True)
class Slates:
    """Lists of impressions, one row each; `item`, `propensity` and `utility` are [B, K].

    `propensity` is the probability of the item at its position, given the items above it.
    """

    user: Int[Ints, " lists"]
    session: Int[NDArray[np.int64], " lists"]
    time: Int[Longs, " lists"]
    query: Int[Ints, " lists"]
    item: Int[Ints, "lists places"]
    propensity: Float64[Doubles, "lists places"]
    utility: Float64[Doubles, "lists places"]


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Concurrent sessions, [B] each: `who` are rows of `Shoppers`, `favourite` a favourite topic, `query` -1 without a search."""

    who: Int[NDArray[np.int64], " sessions"]
    session: Int[NDArray[np.int64], " sessions"]
    style: Int[Ints, " sessions"]
    topic: Int[Ints, " sessions"]
    favourite: Int[Ints, " sessions"]
    query: Int[Ints, " sessions"]


class Shoppers:
    """State of a block of users: seen items [users, N], last item and current time (UTC µs) of each."""

    def __init__(self, shop: Items, people: Users, rows: slice, rng: np.random.Generator) -> None:
        self.shop, self.people, self.rng, self.first = shop, people, rng, rows.start
        self.size = rows.stop - rows.start
        self.has_seen = np.zeros((self.size, len(shop.topic)), dtype=np.bool_)
        self.last = np.full(self.size, MISSING, dtype=np.int32)
        self.now = np.zeros(self.size, dtype=np.int64)

    def visit(
        self, who: Int[Longs, " sessions"], start_us: Int[Longs, " sessions"], lateness: Float64[Doubles, " sessions"], first_session: int
    ) -> tuple[Slates, list[Actions]]:
        """Simulate one session of each user in `who` [B] from `start_us`; `lateness` in 0–1 is its position in the log.

        Returns the impressions, and the events in several blocks; session numbers count from `first_session`.
        """
        self.now[who] = start_us
        visit = self._intent(who, lateness, first_session)
        events: list[Actions] = []
        events.append(self._events(Action.SEARCH, visit, np.flatnonzero(visit.query != MISSING)))
        lists = self._draw_lists(visit)
        events += self._click(visit, lists)
        events += self._browse(visit)
        return lists, events

    def _intent(self, who: NDArray[np.int64], lateness: Doubles, first_session: int) -> Visit:
        """Draw the style and topic of each session: those of the last session, or the user's interests, which drift over time."""
        rng, user_rows = self.rng, self.first + who
        style = np.where(rng.random(len(who)) < SAME_STYLE, self.people.style[user_rows], rng.integers(0, NUM_STYLES, len(who)))
        interests = self.people.early[user_rows] * (1 - lateness)[:, None] + self.people.late[user_rows] * lateness[:, None]
        favourite = self.people.favourites[user_rows, _draw_columns(interests, rng)]
        last = self.last[who]
        continues = (rng.random(len(who)) < SAME_TOPIC) & (last != MISSING)
        topic = np.where(continues, self._next_topic(self.shop.topic[last], style), favourite)
        query = np.where(rng.random(len(who)) < SEARCHES, topic * NUM_STYLES + style, MISSING)
        session = first_session + np.arange(len(who))
        return Visit(who=who, session=session, style=style.astype(np.int32), topic=topic, favourite=favourite, query=query.astype(np.int32))

    def _draw_lists(self, visit: Visit) -> Slates:
        """Draw one list per session by the logging policy; items that have not arrived yet are never drawn."""
        pool_BP, time = self.shop.pool[visit.topic], self.now[visit.who]
        is_topic, is_style = self.shop.topic[pool_BP] == visit.topic[:, None], self.shop.style[pool_BP] == visit.style[:, None]
        utility = MIN_UTILITY + (1 - MIN_UTILITY) * (0.7 * is_topic + 0.3 * is_style)
        column_BK, propensity = logging_policy(utility * (self.shop.created_us[pool_BP] <= time[:, None]), self.rng)
        rows = np.arange(len(pool_BP))[:, None]
        return Slates(
            user=(self.first + visit.who).astype(np.int32),
            session=visit.session,
            time=time,
            query=visit.query,
            item=pool_BP[rows, column_BK],
            propensity=propensity,
            utility=utility[rows, column_BK],
        )

    def _click(self, visit: Visit, lists: Slates) -> list[Actions]:
        """Position-based click model: a position is clicked if it is examined and its item is wanted and unseen."""
        item_BK = lists.item
        is_topic, is_style = self.shop.topic[item_BK] == visit.topic[:, None], self.shop.style[item_BK] == visit.style[:, None]
        want_probability = np.where(is_topic, WANTED_ANYWAY + is_style * WANTED_STYLE + WANTED_TOPIC * is_topic * is_style, WANTED_ANYWAY)
        is_new = ~self.has_seen[visit.who[:, None], item_BK]
        clicked = (self.rng.random(item_BK.shape) < EXAMINED * want_probability * CLICKED) & is_new
        events: list[Actions] = []
        for position in range(LIST_LENGTH):
            rows = np.flatnonzero(clicked[:, position])
            events += self._interact(Action.CLICK, visit, rows, item_BK[rows, position], position)
        return events

    def _browse(self, visit: Visit) -> list[Actions]:
        """View items one after another, each drawn from the one before, until the user leaves."""
        events: list[Actions] = []
        rows = np.arange(len(visit.who))
        for _ in range(MAX_STEPS):
            events += self._interact(Action.VIEW, visit, rows, self._next(visit, rows), MISSING)
            rows = rows[self.rng.random(len(rows)) < GOES_ON]
            if len(rows) == 0:
                break
        return events

    def _next(self, visit: Visit, rows: NDArray[np.int64]) -> Ints:
        """Draw the next unseen item after the last one; after LOOKS tries the last item again, or the first of the topic's pool."""
        who, style, rng = visit.who[rows], visit.style[rows], self.rng
        last = self.last[who]
        is_random = (last == MISSING) | (rng.random(len(rows)) < P_RANDOM_STEP)
        topic = np.where(is_random, visit.favourite[rows], self._next_topic(self.shop.topic[last], style))
        next_item, is_found = np.where(last == MISSING, self.shop.pool[topic, 0], last), np.zeros(len(rows), dtype=np.bool_)
        for look in range(LOOKS):
            item = self.shop.draw(topic, style, rng)
            if look == 0:
                item = np.where(~is_random & (rng.random(len(rows)) < ACCESSORIES), self.shop.companion[last], item)
            accepts = ~is_found & ~self.has_seen[who, item] & (self.shop.created_us[item] <= self.now[who])
            next_item, is_found = np.where(accepts, item, next_item), is_found | accepts
        return next_item

    def _next_topic(self, topic: Ints, style: Ints) -> Ints:
        shares = np.broadcast_to(NEXT_TOPICS, (len(topic), len(NEXT_TOPICS)))
        next_topic: Ints = self.shop.next_topics[topic, style, _draw_columns(shares, self.rng)]
        return next_topic

    def _interact(self, act: Action, visit: Visit, rows: NDArray[np.int64], item: Ints, position: int) -> list[Actions]:
        """Record an interaction, and for some of them a second view, an add-to-cart and a purchase."""
        who = visit.who[rows]
        self.now[who] += self._pause(len(rows))
        self.has_seen[who, item] = True
        self.last[who] = item
        events = [self._events(act, visit, rows, item, position)]
        views_again = self.rng.random(len(rows)) < AGAIN
        self.now[who[views_again]] += self._pause(int(views_again.sum()))
        events.append(self._events(Action.VIEW, visit, rows[views_again], item[views_again]))
        to_cart = np.where(self.shop.style[item] == visit.style[rows], TO_CART, TO_CART / 3)
        for follow_up, share in ((Action.ADD_TO_CART, to_cart), (Action.PURCHASE, TO_PURCHASE)):
            follows = self.rng.random(len(rows)) < share
            rows, item = rows[follows], item[follows]
            self.now[visit.who[rows]] += self._pause(len(rows))
            events.append(self._events(follow_up, visit, rows, item))
        return events

    def _pause(self, count: int) -> Longs:
        """Time between two events in µs: at least a second, 40 on average."""
        return ((1 + self.rng.exponential(39, count)) * SECOND_US).astype(np.int64)

    def _events(self, act: Action, visit: Visit, rows: NDArray[np.int64], item: Ints | None = None, position: int = MISSING) -> Actions:
        who = visit.who[rows]
        return Actions(
            act=np.full(len(rows), act, dtype=np.int8),
            user=(self.first + who).astype(np.int32),
            item=np.full(len(rows), MISSING, dtype=np.int32) if item is None else item.astype(np.int32),
            time=self.now[who],
            session=visit.session[rows],
            position=np.full(len(rows), position, dtype=np.int32),
            query=visit.query[rows],
        )


def logging_policy(
    utility_BP: Float64[Doubles, "lists pool"], rng: np.random.Generator
) -> tuple[Int[Longs, "lists places"], Float64[Doubles, "lists places"]]:
    """Draw `LIST_LENGTH` columns of each row without replacement, in proportion to utility; a utility of 0 is never drawn.

    Plackett–Luce by the Gumbel-top-k trick (Kool et al., ICML 2019, arXiv:1903.06059). Returns columns and propensities, [B, K] each: the
    probability of a draw given those before it.
    """
    with np.errstate(divide="ignore"):
        keys = np.log(utility_BP) + rng.gumbel(size=utility_BP.shape)
    drawn_BK = np.argsort(-keys, axis=1)[:, :LIST_LENGTH]
    utility_BK = np.take_along_axis(utility_BP, drawn_BK, axis=1)
    drawn_mass_BK = np.cumsum(utility_BK, axis=1) - utility_BK
    return drawn_BK, utility_BK / (utility_BP.sum(axis=1, keepdims=True) - drawn_mass_BK)


def _draw_columns(shares: Doubles, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one column of each row in proportion to its shares, [rows]."""
    cumulative = np.cumsum(shares, axis=1)
    below = cumulative <= (rng.random(len(cumulative)) * cumulative[:, -1])[:, None]
    column: NDArray[np.int64] = np.minimum(below.sum(axis=1), shares.shape[1] - 1)
    return column
