"""Group commit: rows that arrive within a few milliseconds, or while the disk is busy, are written together.

A write costs some hundred microseconds of CPU whatever its size, which is more than all the rest of a request with one row.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from serving.spool import Spool

GATHER_S = 0.005
MAX_WAITING_BYTES = 64 << 20  # in memory, of requests without a response yet

logger = logging.getLogger(__name__)


class Overloaded(Exception):
    """The spool or the memory for waiting rows is full; the request gets 503 (E445)."""


class NotKept(Exception):
    """The spool could not write the rows; the request gets 503 (E445)."""


_Waiting = tuple[str, bytes, asyncio.Future[None]]


class Journal:
    """Batches the rows of concurrent requests into writes of the spool, in one writer task and one thread."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._disk = ThreadPoolExecutor(1, "disk")

    async def keep(self, table: str, lines: bytes) -> None:
        """Return when the lines are durable; raises Overloaded or NotKept if they may not be."""
        if self.spool.is_full or self._waiting_bytes + len(lines) > MAX_WAITING_BYTES:
            raise Overloaded
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((table, lines, kept))
        self._waiting_bytes += len(lines)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        await kept

    async def close(self) -> None:
        """Wait until the last batch is durable or has failed."""
        if self._writer is not None:
            await asyncio.wait([self._writer])
        self._disk.shutdown()

    async def _write(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:  # otherwise no task would write any more, and all requests would wait
            self._writer = None

    async def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        rows: dict[str, list[bytes]] = defaultdict(list)
        for table, lines, _ in batch:
            rows[table].append(lines)
        failure: NotKept | None = None
        try:
            joined = {table: b"".join(lines) for table, lines in rows.items()}
            await asyncio.get_running_loop().run_in_executor(self._disk, self.spool.append, joined)
        except Exception as error:  # a task's entry point: disks raise some kinds, the spool others, and the senders wait for a response
            logger.warning("rows could not be written: %s %s", type(error).__name__, error)
            failure = NotKept(str(error))
        finally:
            self._waiting_bytes -= sum(len(lines) for _, lines, _ in batch)
        for _, _, kept in batch:
            if kept.done():  # its request was cancelled
                continue
            if failure is None:
                kept.set_result(None)
            else:
                kept.set_exception(failure)
