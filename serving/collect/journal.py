"""Many requests, one write: what comes within a few milliseconds, or while the disk is busy, goes to it together.

A write costs some hundred microseconds of CPU whatever it holds, which is more than all the rest of a request with one row.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from serving.collect.spool import Spool

GATHER_S = 0.005
MOST_WAITING_BYTES = 64 << 20  # in memory, of requests that are not answered

logger = logging.getLogger(__name__)


class Busy(Exception):
    """Nothing more can be kept at present."""


class NotKept(Exception):
    """The disk, or the folder on it, takes no rows."""


_Waiting = tuple[str, bytes, asyncio.Future[None]]


class Journal:
    """The way from requests to the spool."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._disk = ThreadPoolExecutor(1, "disk")

    async def keep(self, table: str, lines: bytes) -> None:
        """Return when the lines are durable; Busy or NotKept where they may not be."""
        if self.spool.is_full or self._waiting_bytes + len(lines) > MOST_WAITING_BYTES:
            raise Busy
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((table, lines, kept))
        self._waiting_bytes += len(lines)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        await kept

    async def close(self) -> None:
        """Wait until the last batch is durable or refused."""
        if self._writer is not None:
            await asyncio.wait([self._writer])
        self._disk.shutdown()

    async def _write(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:  # or nobody would write any more, and all that comes would wait
            self._writer = None

    async def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        rows: dict[str, list[bytes]] = defaultdict(list)
        for table, lines, _ in batch:
            rows[table].append(lines)
        refused: NotKept | None = None
        try:
            joined = {table: b"".join(lines) for table, lines in rows.items()}
            await asyncio.get_running_loop().run_in_executor(self._disk, self.spool.append, joined)
        except Exception as error:  # a task's entry point: disks raise some kinds, the spool others, and the senders wait for an answer
            logger.warning("rows could not be written: %s %s", type(error).__name__, error)
            refused = NotKept(str(error))
        finally:
            self._waiting_bytes -= sum(len(lines) for _, lines, _ in batch)
        for _, _, kept in batch:
            if kept.done():  # its request was given up
                continue
            if refused is None:
                kept.set_result(None)
            else:
                kept.set_exception(refused)
