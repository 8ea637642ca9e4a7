"""Simulator: a seeded shop with known ground truth (interests, transitions, examination), for tests and benchmarks.

It writes the contract's tables and `truth.npz`. Users are simulated in blocks; each row group of events and impressions is sorted by time,
as are each user's rows throughout. Memory grows with users and items, not with events. Measured on one core, CPU time: 3–4 s per million
events; peak memory 0.35 GiB for 1, 0.56 GiB for 10 and 0.63 GiB for 100 million events (a million users).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.data.simulator.sessions import Actions, Shoppers, Slates
from lodestar.data.simulator.world import END_US, Users, draw_items, draw_users, truth
from lodestar.data.simulator.writer import LogWriter
from lodestar.errors import ConfigError, UsageError
from lodestar.io import npz, storage
from lodestar.io.exits import run_command
from lodestar.process.command_line import Parser, add_option, add_output
from lodestar.process.option_values import whole_number
from lodestar.process.safe_text import write_stdout
from lodestar.process.suggestions import unknown_name
from lodestar.process.termination import exit_on_termination
from lodestar.progress import Progress
from lodestar.schema.arrays import Longs
from lodestar.schema.time_units import DAY_US, HOUR_US, MINUTE_US

NAME, PROGRAM = "simulator", "lodestar simulate"
TRUTH = "truth.npz"
ACTS_PER_SESSION = 9.3  # measured; converts the configured number of events to sessions
MIN_EVENTS = 10  # per user: one session
MAX_EVENTS = 60  # per user and day; many more would not fit into a day
SEEN_BYTES = 1 << 28
MIN_AT_ONCE, MOST_AT_ONCE = 64, 8192  # users per block
BREAK_US = MINUTE_US  # minimum between two sessions of a user
QUIET_US = HOUR_US  # no session starts in the last hour, so that all end within the log
BUSY = np.array([2, 1, 1, 1, 1, 2, 4, 6, 7, 7, 7, 8, 9, 8, 7, 7, 8, 10, 12, 14, 14, 12, 8, 4], dtype=np.float64)  # by hour
# With fewer than 40 items a list would be the whole pool; the upper bounds limit memory.
BOUNDS = {"users": (5, 10_000_000), "items": (40, 1_000_000), "days": (2, 3650), "seed": (0, 2**63 - 1), "events": (0, 10**12)}
MAX_DIGITS = 19


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """Size and seed of a simulated shop; `events` is met within a few percent. ConfigError for a value out of bounds."""

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
        least, most = MIN_EVENTS * self.users, MAX_EVENTS * self.users * self.days
        if not least <= self.events <= most:
            raise ConfigError(
                f"{self.users} users in {self.days} days have {least}–{most} events, got {self.events}: change one of the three"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `simulator` or `simulator:users=500,items=400`; UsageError for anything else, naming the fault."""
        name, _, settings = text.partition(":")
        if name != NAME:
            raise UsageError(f"{text!r} does not begin with {NAME!r}")
        known = [entry.name for entry in fields(cls)]
        values: dict[str, int] = {}
        for setting in filter(None, settings.split(",")):
            key, _, value = setting.partition("=")
            if key not in known:
                raise UsageError(unknown_name("the simulator has no setting", key, known))
            if key in values or not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS):
                raise UsageError(f"the simulator takes {key} once and as a whole number, got {setting!r}")
            values[key] = int(value)
        return cls(**values)


def is_simulated(path: str) -> bool:
    """Whether a data address names the simulator rather than a path."""
    return path == NAME or path.startswith(f"{NAME}:")


def simulate(config: SimulatorConfig, target: Path) -> None:
    """Write users, items, events, impressions and `truth.npz` into an existing folder; the same config gives the same bytes."""
    rng = np.random.default_rng(config.seed)
    shop = draw_items(config.items, config.days, rng)
    users = draw_users(config.users, shop.num_topics, config.days, rng)
    sessions = _num_sessions(users, config)
    with LogWriter(target, shop) as log, Progress("simulate", int(sessions.sum())) as progress:
        log.write_items(rng)
        log.write_users(users, rng)
        at_once = max(MIN_AT_ONCE, min(MOST_AT_ONCE, SEEN_BYTES // config.items))
        num_sessions = 0
        for first in range(0, config.users, at_once):
            rows = slice(first, min(first + at_once, config.users))
            shoppers = Shoppers(shop, users, rows, rng)
            for lists, events in _simulate_sessions(shoppers, users.created_us[rows], sessions[rows], config.days, num_sessions):
                log.add(lists, events)
                progress.advance(len(lists.user))
                num_sessions += len(lists.user)
        log.flush()
    npz.save(target / TRUTH, truth(shop, users))


def _num_sessions(users: Users, config: SimulatorConfig) -> NDArray[np.int64]:
    """Number of sessions of each user, [users]: at least one, the rest in proportion to activity."""
    more = config.events / ACTS_PER_SESSION - config.users
    ends = np.round(np.cumsum(users.activity.astype(np.float64)) * (more / users.activity.sum(dtype=np.float64)))
    sessions: NDArray[np.int64] = 1 + np.diff(ends, prepend=0).astype(np.int64)
    return sessions


def _simulate_sessions(
    shoppers: Shoppers, created_us: Longs, sessions: NDArray[np.int64], days: int, num_before: int
) -> Iterator[tuple[Slates, list[Actions]]]:
    """Simulate the sessions of a block of users, one of each user at a time, until all are done."""
    start_us = END_US - days * DAY_US
    time_us, remaining = np.maximum(created_us, start_us).astype(np.float64), sessions.copy()
    while len(who := np.flatnonzero(remaining)):
        # The earliest of `remaining` times drawn uniformly from the rest of the log.
        share = 1 - shoppers.rng.random(len(who)) ** (1 / remaining[who])
        time_us[who] += share * (END_US - QUIET_US - time_us[who])
        lateness = (time_us[who] - start_us) / (END_US - start_us)
        session_start_us = np.maximum(_by_hour(time_us[who]), np.maximum(created_us[who], shoppers.now[who] + BREAK_US))
        yield shoppers.visit(who, session_start_us, lateness, num_before)
        num_before += len(who)
        remaining[who] -= 1


def _by_hour(time_us: NDArray[np.float64]) -> Longs:
    """Map uniform times of day (UTC µs) to the hourly activity profile BUSY, keeping their order."""
    day, rest = np.divmod(time_us, DAY_US)
    cumulative = np.concatenate([[0.0], np.cumsum(BUSY)])
    return (day * DAY_US + np.interp(rest / DAY_US, cumulative / cumulative[-1], np.arange(25) / 24) * DAY_US).astype(np.int64)


def main(arguments: list[str] | None = None) -> int:
    """Command `lodestar simulate`: simulate into a folder; returns the error's exit code, or 0."""
    return run_command(PROGRAM, partial(_simulate, vars(parser().parse_args(arguments))))


def _simulate(options: dict[str, Any]) -> int:
    target = options.pop("output")
    config = SimulatorConfig(**options)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is no folder: name another, or move it away", code="E301")
    with exit_on_termination(), storage.publish_files(target) as folder:
        simulate(config, folder)
    write_stdout(f"{target}\n")
    return 0


def parser() -> Parser:
    """The parser of `lodestar simulate`."""
    parser = Parser(
        prog=PROGRAM,
        description="Write a simulated shop's tables and its ground truth. Prints the folder.",
        examples=[
            "lodestar simulate --output shop/",
            "lodestar simulate --users 200000 --items 50000 --events 10000000 --output big-shop/",
        ],
    )
    for entry in fields(SimulatorConfig):
        low, high = BOUNDS[entry.name]
        if entry.name == "seed":
            add_option(parser, "--seed", default=entry.default)
        else:
            parser.add_argument(
                f"--{entry.name}",
                type=whole_number(low, high),
                default=entry.default,
                metavar="N",
                help=f"number of {entry.name}, {low:,}–{high:,}",
            )
    add_output(parser, "folder of the tables, created if missing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
