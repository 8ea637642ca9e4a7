"""What a hostile sender does to a server on this machine, for some seconds: `python -m tests.drills.attacks NAME PORT SECONDS PATH`.

Every attack is one process, and goes on when the server closes its connections. PATH is where bodies are posted to.
"""

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

HOST = "127.0.0.1"
LIST = "GET /v1/recommend?user=u{number}&k=1000 HTTP/1.1\r\nHost: test\r\n\r\n"
MIB = 1 << 20
FILES = 8192
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to, and until when."""

    port: int
    until_s: float
    path: str

    def post(self, length: int) -> bytes:
        return f"POST {self.path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n".encode()

    @contextlib.asynccontextmanager
    async def connected(self):  # type: ignore[no-untyped-def]  # a pair of streams, closed in any case
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def again(self, attack: "Callable[[Streams], Coroutine[None, None, None]]", *, pause_s: float = 0.01) -> None:
        """The attack over one connection after the other."""
        while time.monotonic() < self.until_s:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with (
                    asyncio.timeout_at(asyncio.get_running_loop().time() + self.until_s - time.monotonic()),
                    self.connected() as streams,
                ):
                    await attack(streams)
            await asyncio.sleep(pause_s)

    async def many(self, count: int, attack: "Callable[[Streams], Coroutine[None, None, None]]", *, pause_s: float = 0.01) -> None:
        await asyncio.gather(*(self.again(attack, pause_s=pause_s) for _ in range(count)))


async def until_closed(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def send(streams: Streams, content: bytes) -> None:
    """All of it, and then wait to be answered or closed."""
    streams[1].write(content)
    await streams[1].drain()
    await until_closed(streams[0])


async def silent(target: Target) -> None:
    """Connections on which nothing ever comes."""
    await target.many(4200, lambda streams: until_closed(streams[0]), pause_s=0.5)


async def headers(target: Target) -> None:
    content = b"GET / HTTP/1.1\r\nHost: test\r\n" + b"a: b\r\n" * 180_000 + b"\r\n"
    await target.many(4, lambda streams: send(streams, content))


async def long_head(target: Target) -> None:
    content = b"GET / HTTP/1.1\r\nHost: test\r\na: " + b"x" * (16 * MIB)
    await target.many(4, lambda streams: send(streams, content))


async def unfinished(target: Target) -> None:
    """Bodies of which the last byte never comes."""
    content = target.post(MIB) + b" " * (MIB - 1)
    await target.many(1000, lambda streams: send(streams, content), pause_s=1)


async def slow(target: Target) -> None:
    """Heads that come a byte a second."""

    async def attack(streams: Streams) -> None:
        for byte in LIST.encode():
            streams[1].write(bytes([byte]))
            await asyncio.sleep(1)

    await target.many(1000, attack)


async def pipelined(target: Target) -> None:
    """Long lists, asked for in rows, and read."""
    content = "".join(LIST.format(number=number) for number in range(40)).encode()
    await target.many(50, lambda streams: send(streams, content))


async def unread(target: Target) -> None:
    """Long lists that nobody reads."""
    content = "".join(LIST.format(number=number) for number in range(60)).encode()

    async def attack(streams: Streams) -> None:
        streams[0]._transport.pause_reading()  # type: ignore[attr-defined]  # which a stream does by itself only when it is full
        streams[1].write(content)
        await asyncio.sleep(target.until_s - time.monotonic())

    await target.many(500, attack)


async def deep_pipeline(target: Target) -> None:
    content = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n" * 20_000
    await target.many(20, lambda streams: send(streams, content))


async def nested(target: Target) -> None:
    """JSON that is deep, or of very many lists."""
    bodies = [b'{"instances": [' + b"[" * depth + b"]" * depth + b"]}" for depth in (300, 1000, 400_000)]
    bodies += [b'{"instances": [' + b"[]," * 340_000 + b"[]]}", b'[{"attrs": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}]"]
    content = b"".join(target.post(len(body)) + body for body in bodies)
    await target.many(4, lambda streams: send(streams, content))


async def large(target: Target) -> None:
    """The dearest requests that are valid, of whole bodies."""
    excluded = b",".join(b'"i%d"' % number for number in range(900))
    body = b'{"instances": [' + b",".join(b'{"user": "u", "k": 40, "exclude": [%b]}' % excluded for _ in range(100)) + b"]}"
    await target.many(100, lambda streams: send(streams, target.post(len(body)) + body))


async def churn(target: Target) -> None:
    async def attack(streams: Streams) -> None:
        streams[1].write(b"GET / HTTP/1.1\r\n")

    await target.many(32, attack, pause_s=0)


ATTACKS = {
    attack.__name__: attack
    for attack in (unfinished, pipelined, silent, headers, long_head, slow, unread, deep_pipeline, nested, large, churn)
}


def main() -> None:
    name, port, seconds, path = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    asyncio.run(ATTACKS[name](Target(port=int(port), until_s=time.monotonic() + float(seconds), path=path)))


if __name__ == "__main__":
    main()
