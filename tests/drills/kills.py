"""Publications that are killed at random system calls: what is read then, and beside, is the old or the new, and never nothing.

Each case is one kill. The next publication meets what the killed one left; the last one of each kind is not killed, and leaves nothing.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.contract.conftest import s3_server
from tests.drills.drills import Figures
from tests.drills.publication_targets import KINDS, MODULES, PublicationTarget
from tests.drills.strace_kill import beside, is_killed, preload, traced

OLD, NEW = "old", "new"
MOST_ATTEMPTS = 5  # for a kill: a call that was made once need not be made again


def drill(seed: int, cases: int) -> Figures:
    """AssertionError where something else than the old or the new is found, or something is left at the end."""
    rng, result = random.Random(seed), dict[str, object]()
    preload(MODULES)
    whole = sum(kind.share for kind in KINDS.values())
    with s3_server() as environment:
        for name, kind in KINDS.items():
            if kills := cases * kind.share // whole:
                with tempfile.TemporaryDirectory() as folder:
                    result[name] = killed(kind, Path(folder), kills, rng, environment)
    return result


def killed(kind: PublicationTarget, folder: Path, kills: int, rng: random.Random, environment: Mapping[str, str]) -> Mapping[str, object]:
    """Kill publications of a kind in a folder that often; figures."""
    log, root = folder / "strace", folder / "root"
    root.mkdir()
    with kind.made(root) as environ:
        environment = {**environment, **environ}
        kind.work(root, OLD)
        states = {kind.read(root): OLD}
        calls = traced(log, environment, kind.work, root, NEW)
        states[kind.read(root)] = NEW
        assert len(states) == 2, states
        done, found, reads = 0, Counter[str](), Counter[str]()
        for _ in range(kills * MOST_ATTEMPTS):
            if done == kills:
                break
            before = states[kind.read(root)]
            if before == NEW and kind.reset:
                kind.reset(root)
                kind.work(root, OLD)
                before = OLD
            content = NEW if before == OLD else OLD
            call = rng.choice(calls[rng.choice(sorted(calls))])  # by name first: a rename comes up as often as a read
            with beside(lambda: states[kind.read(root)]) as seen:
                was_killed = is_killed(call, log, environment, kind.work, root, content)
            after = states[kind.read(root)]
            assert not seen.errors, (call, content, seen.errors[0])
            assert was_killed or after == content, (call, content, after)
            done += was_killed
            found["old" if after == before else "new"] += was_killed
            reads.update(seen.states)
        assert done == kills, (done, kills)
        kind.work(root, NEW)
        assert states[kind.read(root)] == NEW
        assert (left := kind.left(root)) == [], left
    return {
        "kills": done,
        "calls": sum(map(len, calls.values())),
        "names": len(calls),
        "left": dict(found),
        "reads_beside": sum(reads.values()),
        "failed_reads": 0,
    }
