"""A seeded shop whose truth is known: what people like, what goes with what, and who looks how far down a list.

It writes the contract's tables and `truth.npz`. Some people live at a time, and each row group of events and impressions is in the order
of time, as are each person's rows throughout: memory grows with users and items, and not with events. Measured on one core, in CPU time:
3–4 s per million events; the most memory was 0.35 GiB for 1, 0.56 GiB for 10 and 0.63 GiB for 100 million events (a million users).
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lodestar import arrays
from lodestar.data.log_writer import LogWriter
from lodestar.data.sessions import Acts, Lists, Shoppers
from lodestar.data.world import DAY_US, END_US, SECOND_US, People, Times, goods, people, truth
from lodestar.errors import ConfigError, LodestarError, UsageError
from lodestar.progress import Progress

NAME = "simulator"
TRUTH = "truth.npz"
ACTS_PER_SESSION = 9.3  # measured; turns the asked number of events into sessions
LEAST_EVENTS = 10  # of a person: a session
MOST_EVENTS = 60  # of a person in a day; many more, and a day has not hours enough
SEEN_BYTES = 1 << 28
LEAST_AT_ONCE, MOST_AT_ONCE = 64, 8192  # people
BREAK_US = 60 * SECOND_US  # between two sessions of a person, at least
QUIET_US = 3600 * SECOND_US  # no session starts in the last hour, so that all end within the log
BUSY = np.array([2, 1, 1, 1, 1, 2, 4, 6, 7, 7, 7, 8, 9, 8, 7, 7, 8, 10, 12, 14, 14, 12, 8, 4], dtype=np.float64)  # by hour
# Fewer than 40 items, and a list would be the whole pool; what lies above is kept in memory.
BOUNDS = {"users": (5, 10_000_000), "items": (40, 1_000_000), "days": (2, 3650), "seed": (0, 2**63 - 1), "events": (0, 10**12)}
MOST_DIGITS = 19


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """How big a shop, and which one; `events` is met within a few percent."""

    users: int = 1000
    items: int = 300
    events: int = 75_000
    days: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(f"{name} must be a whole number in {low}–{high}, got {value!r}")
        least, most = LEAST_EVENTS * self.users, MOST_EVENTS * self.users * self.days
        if not least <= self.events <= most:
            raise ConfigError(
                f"{self.users} users in {self.days} days have {least}–{most} events, got {self.events}: change one of the three"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """`simulator` or `simulator:users=500,items=400`; UsageError names what is wrong with anything else."""
        name, _, settings = text.partition(":")
        if name != NAME:
            raise UsageError(f"{text!r} does not begin with {NAME!r}")
        known = [entry.name for entry in fields(cls)]
        values: dict[str, int] = {}
        for setting in filter(None, settings.split(",")):
            key, _, value = setting.partition("=")
            if key not in known:
                raise UsageError(f"the simulator has no setting {key!r}; there are {', '.join(known)}")
            if key in values or not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS):
                raise UsageError(f"the simulator takes {key} once and as a whole number, got {setting!r}")
            values[key] = int(value)
        return cls(**values)


def is_simulated(path: str) -> bool:
    """Whether a data address asks for the simulator and names no file."""
    return path == NAME or path.startswith(f"{NAME}:")


def simulate(config: SimulatorConfig, target: Path) -> None:
    """Write users, items, events, impressions and the truth into a folder that is there; the same config gives the same bytes."""
    chance = np.random.default_rng(config.seed)
    shop = goods(config.items, config.days, chance)
    crowd = people(config.users, shop.num_topics, config.days, chance)
    sessions = _sessions_of(crowd, config)
    with LogWriter(target, shop) as log, Progress("simulate", int(sessions.sum())) as progress:
        log.write_items(chance)
        log.write_users(crowd, chance)
        at_once = max(LEAST_AT_ONCE, min(MOST_AT_ONCE, SEEN_BYTES // config.items))
        num_sessions = 0
        for first in range(0, config.users, at_once):
            rows = slice(first, min(first + at_once, config.users))
            shoppers = Shoppers(shop, crowd, rows, chance)
            for lists, acts in _lives(shoppers, crowd.created_us[rows], sessions[rows], config.days, num_sessions):
                log.add(lists, acts)
                progress.advance(len(lists.user))
                num_sessions += len(lists.user)
        log.flush()
    arrays.save(target / TRUTH, truth(shop, crowd))


def _sessions_of(crowd: People, config: SimulatorConfig) -> NDArray[np.int64]:
    """How many sessions each person has: one, and more the more active they are."""
    more = config.events / ACTS_PER_SESSION - config.users
    ends = np.round(np.cumsum(crowd.activity.astype(np.float64)) * (more / crowd.activity.sum(dtype=np.float64)))
    sessions: NDArray[np.int64] = 1 + np.diff(ends, prepend=0).astype(np.int64)
    return sessions


def _lives(
    shoppers: Shoppers, created_us: Times, sessions: NDArray[np.int64], days: int, num_before: int
) -> Iterator[tuple[Lists, list[Acts]]]:
    """Session after session of some of the people, until none has one left."""
    start_us = END_US - days * DAY_US
    moment, left = np.maximum(created_us, start_us).astype(np.float64), sessions.copy()
    while len(who := np.flatnonzero(left)):
        # The earliest of `left` moments drawn evenly from what remains of the log.
        share = 1 - shoppers.chance.random(len(who)) ** (1 / left[who])
        moment[who] += share * (END_US - QUIET_US - moment[who])
        lateness = (moment[who] - start_us) / (END_US - start_us)
        begin_us = np.maximum(_by_hour(moment[who]), np.maximum(created_us[who], shoppers.now[who] + BREAK_US))
        yield shoppers.visit(who, begin_us, lateness, num_before)
        num_before += len(who)
        left[who] -= 1


def _by_hour(moment_us: NDArray[np.float64]) -> Times:
    """Moments of even days moved, in their order, to the hours in which people shop."""
    day, rest = np.divmod(moment_us, DAY_US)
    reach = np.concatenate([[0.0], np.cumsum(BUSY)])
    return (day * DAY_US + np.interp(rest / DAY_US, reach / reach[-1], np.arange(25) / 24) * DAY_US).astype(np.int64)


def main(arguments: list[str] | None = None) -> int:
    """Simulate into a folder; the exit code says what kind of trouble there was."""
    options = vars(_parser().parse_args(arguments))
    target = options.pop("output")
    try:
        config = SimulatorConfig(**options)
        if target.exists() and not target.is_dir():
            raise UsageError(f"{target} is a file; give --output a folder")
        target.mkdir(parents=True, exist_ok=True)
        simulate(config, target)
    except LodestarError as error:
        sys.stderr.write(f"lodestar simulate: {error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lodestar simulate", description="Write a simulated shop's tables and its truth.")
    for entry in fields(SimulatorConfig):
        parser.add_argument(f"--{entry.name}", type=int, default=entry.default, metavar="N", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder; made where it is missing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
