"""Callers who behave, and probes, beside an attack: `python -m tests.drills.honest_callers PORT SECONDS METHOD PATH [BODY]` prints what
they saw.

Callers keep their connections and ask in turn, probes connect anew each time. A request is lost where anything but 2xx comes back.
"""

import asyncio
import json
import re
import sys
import time
from collections import defaultdict

HOST, CALLERS, PAUSE_S, PROBE_PAUSE_S, LIMIT_S = "127.0.0.1", 8, 0.08, 0.1, 10.0
PROBES = ("/v2/health/live", "/v2/health/ready")


class Latencies:
    """Durations of requests, and those that were lost with what came instead."""

    def __init__(self) -> None:
        self.elapsed_s: dict[str, list[float]] = defaultdict(list)
        self.lost: list[str] = []

    async def ask(self, kind: str, streams: "tuple[asyncio.StreamReader, asyncio.StreamWriter] | None", port: int, request: bytes) -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = streams or await asyncio.open_connection(HOST, port)
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                if streams is None:
                    writer.close()
            status = int(head.split()[1])
        except (OSError, asyncio.IncompleteReadError) as error:
            self.lost.append(f"{kind}: {type(error).__name__} {error}")
        else:
            self.elapsed_s[kind].append(time.perf_counter() - started)
            if not 200 <= status < 300:
                self.lost.append(f"{kind}: {status}")


async def call(seen: Latencies, port: int, until_s: float, request: bytes) -> None:
    streams = await asyncio.open_connection(HOST, port)
    lost = 0
    while time.monotonic() < until_s:
        await seen.ask("request", streams, port, request)
        if len(seen.lost) > lost:
            lost, streams = len(seen.lost), await asyncio.open_connection(HOST, port)
        await asyncio.sleep(PAUSE_S)


async def probe(seen: Latencies, port: int, until_s: float) -> None:
    number = 0
    while time.monotonic() < until_s:
        await seen.ask("probe", None, port, f"GET {PROBES[number % 2]} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        number += 1
        await asyncio.sleep(PROBE_PAUSE_S)


async def watch(port: int, seconds: float, request: bytes) -> Latencies:
    seen, until_s = Latencies(), time.monotonic() + seconds
    await asyncio.gather(probe(seen, port, until_s), *(call(seen, port, until_s, request) for _ in range(CALLERS)))
    return seen


def main() -> None:
    port, seconds, method, path, *rest = sys.argv[1:]
    body = "".join(rest)
    request = f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    seen = asyncio.run(watch(int(port), float(seconds), request))
    elapsed_s = sorted(seen.elapsed_s["request"])
    told = {
        "answered": len(elapsed_s),
        "lost": seen.lost[:20],
        "p99_ms": round(1e3 * elapsed_s[int(0.99 * (len(elapsed_s) - 1))], 1) if elapsed_s else None,
        "slowest_probe_ms": round(1e3 * max(seen.elapsed_s["probe"], default=LIMIT_S), 1),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
