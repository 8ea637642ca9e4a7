"""Kill a process of ours at a system call of its own: strace sends SIGKILL as the call is entered, so that it is not made any more."""

import multiprocessing
import os
import re
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from lodestar.io.s3 import s3_objects

# What can leave something half-done: files, handles, sockets. Memory and threads are nobody else's.
TRACED = "%file,%desc,%network"
CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\(")
KILLED = "+++ killed by SIGKILL +++"
PAUSE_S = 0.01
LIMIT_S = 300

Work = Callable[..., object]


@dataclass(frozen=True)
class SystemCall:
    """The `number`th call of a name that one of the process's threads makes."""

    name: str
    number: int


def traced(log: Path, environment: Mapping[str, str], work: Work, *arguments: object) -> dict[str, list[SystemCall]]:
    """Let a process do its work to the end; the system calls that it made, by name."""
    code = _run(["-e", f"trace={TRACED}", "-o", str(log)], environment, work, arguments)
    assert code == 0, code
    counts: Counter[tuple[str, str]] = Counter()
    calls = defaultdict(list)
    for line in log.read_text(errors="replace").splitlines():
        if found := CALL.match(line):
            counts[found["thread"], found["name"]] += 1
            calls[found["name"]].append(SystemCall(found["name"], counts[found["thread"], found["name"]]))
    return calls


def is_killed(call: SystemCall, log: Path, environment: Mapping[str, str], work: Work, *arguments: object) -> bool:
    """Let a process do its work until it makes that call; whether it came so far. AssertionError where it fails in another way."""
    inject = f"inject={call.name}:signal=KILL:when={call.number}"
    code = _run(["-e", f"trace={call.name}", "-e", inject, "-o", str(log)], environment, work, arguments)
    was_killed = KILLED in log.read_text(errors="replace")
    assert was_killed or code == 0, (call, code)
    return was_killed


def _run(options: list[str], environment: Mapping[str, str], work: Work, arguments: tuple[object, ...]) -> int | None:
    """The exit code of a process that strace follows from the time at which its work begins."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, dict(environment), work, arguments))
    process.start()
    try:
        command = ["strace", "-f", *options, "-p", str(ours.recv())]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            assert "attached" in said, said
            drained = threading.Thread(target=tracer.stderr.read)  # it would wait for room
            drained.start()
            ours.send(None)
            process.join(LIMIT_S)
            process.kill()
            drained.join()
    finally:
        process.kill()
        process.join()
    return process.exitcode


def _work(pipe: Connection, environment: dict[str, str], work: Work, arguments: tuple[object, ...]) -> None:
    os.environ.update(environment)
    if "AWS_ENDPOINT_URL" in environment:
        s3_objects.connect()  # reads thousands of lines about Amazon's services, which is nothing of ours
    pipe.send(os.getpid())
    pipe.recv()
    work(*arguments)


def preload(modules: list[str]) -> None:
    """Import once what the processes need."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(modules)


@dataclass
class ReadLog:
    """What was read beside: how often each state, and the errors that reads ended in."""

    states: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


@contextmanager
def beside(read: Callable[[], str]) -> Iterator[ReadLog]:
    """Read all the while; a read that fails is noted and not raised."""
    seen, is_over = ReadLog(), threading.Event()

    def go_on() -> None:
        while not is_over.wait(PAUSE_S):
            try:
                seen.states[read()] += 1
            except Exception as error:  # a thread's entry point: what it is counts against the drill
                seen.errors.append(f"{type(error).__name__} {error}")

    reader = threading.Thread(target=go_on)
    reader.start()
    try:
        yield seen
    finally:
        is_over.set()
        reader.join()
