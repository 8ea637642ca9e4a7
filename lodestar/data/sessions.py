"""People shopping, many at once: a list is shown, some of it is looked at and clicked, and one thing leads to another.

Letters in shapes: B people with a session now, K places of a list, P items of a pool, N items.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lodestar.data.world import EXAMINED, LIST_LENGTH, NEXT_TOPICS, NUM_STYLES, SECOND_US, Goods, Ints, People, Times

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

SAME_STYLE, SAME_TOPIC = 0.97, 0.85  # the chance that a session is in the person's own style, and goes on where the last one ended
SEARCHES = 0.35
LEAST_FAVOUR = 1 / 3  # no item of a pool is shown less than this as readily as another: nothing is ever certain to be shown
CLICKED = 0.9  # of what is looked at and wanted
WANTED_TOPIC, WANTED_STYLE, WANTED_ANYWAY = 0.45, 0.35, 0.03
GOES_ON, MOST_STEPS = 0.8, 12
STRAYS, ACCESSORIES = 0.15, 0.08  # steps that follow nothing, and that follow the item and not its topic
LOOKS = 4  # items weighed before one that was seen already is looked at again
AGAIN, TO_CART, TO_PURCHASE = 0.7, 0.1, 0.5  # of what is taken, what is looked at again, put into the cart, and then bought
NO_ONE = -1


class Act(IntEnum):
    """What a row of the log is."""

    SEARCH = 0
    CLICK = 1
    VIEW = 2
    ADD_TO_CART = 3
    PURCHASE = 4


@dataclass(frozen=True, kw_only=True)
class Acts:
    """Rows of the log in parallel; -1 where there is no item, position or query. A query is `topic * NUM_STYLES + style`."""

    act: NDArray[np.int8]
    user: Ints
    item: Ints
    time: Times
    session: NDArray[np.int64]
    position: Ints
    query: Ints


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Lists that were shown, one row each; `propensity` [B, K] is the chance of that item at that place, given those above it."""

    user: Ints
    session: NDArray[np.int64]
    time: Times
    query: Ints
    item: Ints
    propensity: Floats
    favour: Floats


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Sessions that happen side by side; `who` [B] are rows of `Shoppers`."""

    who: NDArray[np.int64]
    session: NDArray[np.int64]
    style: Ints
    topic: Ints
    favourite: Ints
    query: Ints


class Shoppers:
    """Some of the people, with what each has seen and did last."""

    def __init__(self, shop: Goods, people: People, rows: slice, chance: np.random.Generator) -> None:
        self.shop, self.people, self.chance, self.first = shop, people, chance, rows.start
        self.size = rows.stop - rows.start
        self.has_seen = np.zeros((self.size, len(shop.topic)), dtype=np.bool_)
        self.last = np.full(self.size, NO_ONE, dtype=np.int32)
        self.now = np.zeros(self.size, dtype=np.int64)

    def visit(self, who: NDArray[np.int64], start_us: Times, lateness: Floats, first_session: int) -> tuple[Lists, list[Acts]]:
        """One session of each of `who`; `lateness` in 0–1 is how far into the log it is."""
        self.now[who] = start_us
        visit = self._intent(who, lateness, first_session)
        acts: list[Acts] = []
        acts.append(self._acts(Act.SEARCH, visit, np.flatnonzero(visit.query != NO_ONE)))
        lists = self._show(visit)
        acts += self._click(visit, lists)
        acts += self._walk(visit)
        return lists, acts

    def _intent(self, who: NDArray[np.int64], lateness: Floats, first_session: int) -> Visit:
        """A style and a topic: those of the last session, or what the person likes by now."""
        chance, mine = self.chance, self.first + who
        style = np.where(chance.random(len(who)) < SAME_STYLE, self.people.style[mine], chance.integers(0, NUM_STYLES, len(who)))
        liked = self.people.early[mine] * (1 - lateness)[:, None] + self.people.late[mine] * lateness[:, None]
        favourite = self.people.favourites[mine, _pick(liked, chance)]
        last = self.last[who]
        resumes = (chance.random(len(who)) < SAME_TOPIC) & (last != NO_ONE)
        topic = np.where(resumes, self._following(self.shop.topic[last], style), favourite)
        query = np.where(chance.random(len(who)) < SEARCHES, topic * NUM_STYLES + style, NO_ONE)
        session = first_session + np.arange(len(who))
        return Visit(who=who, session=session, style=style.astype(np.int32), topic=topic, favourite=favourite, query=query.astype(np.int32))

    def _show(self, visit: Visit) -> Lists:
        pool_BP, time = self.shop.pool[visit.topic], self.now[visit.who]
        is_topic, is_style = self.shop.topic[pool_BP] == visit.topic[:, None], self.shop.style[pool_BP] == visit.style[:, None]
        favour = LEAST_FAVOUR + (1 - LEAST_FAVOUR) * (0.7 * is_topic + 0.3 * is_style)
        place_BK, propensity = logging_policy(favour * (self.shop.created_us[pool_BP] <= time[:, None]), self.chance)
        rows = np.arange(len(pool_BP))[:, None]
        return Lists(
            user=(self.first + visit.who).astype(np.int32),
            session=visit.session,
            time=time,
            query=visit.query,
            item=pool_BP[rows, place_BK],
            propensity=propensity,
            favour=favour[rows, place_BK],
        )

    def _click(self, visit: Visit, lists: Lists) -> list[Acts]:
        """From the top: a place is clicked when it is looked at and its item, not seen before, is wanted."""
        item_BK = lists.item
        is_topic, is_style = self.shop.topic[item_BK] == visit.topic[:, None], self.shop.style[item_BK] == visit.style[:, None]
        wanted = np.where(is_topic, WANTED_ANYWAY + is_style * WANTED_STYLE + WANTED_TOPIC * is_topic * is_style, WANTED_ANYWAY)
        is_new = ~self.has_seen[visit.who[:, None], item_BK]
        clicked = (self.chance.random(item_BK.shape) < EXAMINED * wanted * CLICKED) & is_new
        acts: list[Acts] = []
        for position in range(LIST_LENGTH):
            rows = np.flatnonzero(clicked[:, position])
            acts += self._take(Act.CLICK, visit, rows, item_BK[rows, position], position)
        return acts

    def _walk(self, visit: Visit) -> list[Acts]:
        """What goes with the last item, of what goes with that, … until the person leaves."""
        acts: list[Acts] = []
        rows = np.arange(len(visit.who))
        for _ in range(MOST_STEPS):
            acts += self._take(Act.VIEW, visit, rows, self._next(visit, rows), NO_ONE)
            rows = rows[self.chance.random(len(rows)) < GOES_ON]
            if len(rows) == 0:
                break
        return acts

    def _next(self, visit: Visit, rows: NDArray[np.int64]) -> Ints:
        """What follows the last item and has not been seen yet; where all looks fail the last one again, or what was always there."""
        who, style, chance = visit.who[rows], visit.style[rows], self.chance
        last = self.last[who]
        strays = (last == NO_ONE) | (chance.random(len(rows)) < STRAYS)
        topic = np.where(strays, visit.favourite[rows], self._following(self.shop.topic[last], style))
        chosen, is_open = np.where(last == NO_ONE, self.shop.pool[topic, 0], last), np.zeros(len(rows), dtype=np.bool_)
        for look in range(LOOKS):
            item = self.shop.draw(topic, style, chance)
            if look == 0:
                item = np.where(~strays & (chance.random(len(rows)) < ACCESSORIES), self.shop.companion[last], item)
            takes = ~is_open & ~self.has_seen[who, item] & (self.shop.created_us[item] <= self.now[who])
            chosen, is_open = np.where(takes, item, chosen), is_open | takes
        return chosen

    def _following(self, topic: Ints, style: Ints) -> Ints:
        shares = np.broadcast_to(NEXT_TOPICS, (len(topic), len(NEXT_TOPICS)))
        following: Ints = self.shop.next_topics[topic, style, _pick(shares, self.chance)]
        return following

    def _take(self, act: Act, visit: Visit, rows: NDArray[np.int64], item: Ints, position: int) -> list[Acts]:
        """The act, and for some of them the cart and the purchase that come of it."""
        who = visit.who[rows]
        self.now[who] += self._pause(len(rows))
        self.has_seen[who, item] = True
        self.last[who] = item
        acts = [self._acts(act, visit, rows, item, position)]
        again = self.chance.random(len(rows)) < AGAIN
        self.now[who[again]] += self._pause(int(again.sum()))
        acts.append(self._acts(Act.VIEW, visit, rows[again], item[again]))
        to_cart = np.where(self.shop.style[item] == visit.style[rows], TO_CART, TO_CART / 3)
        for more, share in ((Act.ADD_TO_CART, to_cart), (Act.PURCHASE, TO_PURCHASE)):
            goes = self.chance.random(len(rows)) < share
            rows, item = rows[goes], item[goes]
            self.now[visit.who[rows]] += self._pause(len(rows))
            acts.append(self._acts(more, visit, rows, item))
        return acts

    def _pause(self, count: int) -> Times:
        """Between two acts: at least a second, 40 on average."""
        return ((1 + self.chance.exponential(39, count)) * SECOND_US).astype(np.int64)

    def _acts(self, act: Act, visit: Visit, rows: NDArray[np.int64], item: Ints | None = None, position: int = NO_ONE) -> Acts:
        who = visit.who[rows]
        return Acts(
            act=np.full(len(rows), act, dtype=np.int8),
            user=(self.first + who).astype(np.int32),
            item=np.full(len(rows), NO_ONE, dtype=np.int32) if item is None else item.astype(np.int32),
            time=self.now[who],
            session=visit.session[rows],
            position=np.full(len(rows), position, dtype=np.int32),
            query=visit.query[rows],
        )


def logging_policy(favour_BP: Floats, chance: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Draw `LIST_LENGTH` places of each pool, one after the other and each once, in proportion to favour; zero is never drawn.

    Beside each comes its propensity: the chance of that draw, given those before it. (Plackett–Luce, by the Gumbel trick.)
    """
    with np.errstate(divide="ignore"):
        keys = np.log(favour_BP) + chance.gumbel(size=favour_BP.shape)
    drawn_BK = np.argsort(-keys, axis=1)[:, :LIST_LENGTH]
    favour_BK = np.take_along_axis(favour_BP, drawn_BK, axis=1)
    gone_BK = np.cumsum(favour_BK, axis=1) - favour_BK
    return drawn_BK, favour_BK / (favour_BP.sum(axis=1, keepdims=True) - gone_BK)


def _pick(shares: Floats, chance: np.random.Generator) -> NDArray[np.int64]:
    """One column of each row, in proportion to what stands there."""
    reach = np.cumsum(shares, axis=1)
    passed = reach <= (chance.random(len(reach)) * reach[:, -1])[:, None]
    column: NDArray[np.int64] = np.minimum(passed.sum(axis=1), shares.shape[1] - 1)
    return column
