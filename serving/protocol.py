"""HTTP/1.1 as uvicorn speaks it on llhttp's parser, with bounds on what they leave open.

Neither bounds the length of a head, the number of its headers, the time to send or to read, or the requests that come before their
answers: uvicorn's connection is extended here by counting what passes, and parses nothing itself. What a refused caller still sends is
discarded for a while, since an answer is lost where a connection closes on unread data.
"""

from asyncio import TimerHandle, Transport
from collections import deque
from collections.abc import Mapping
from typing import Any

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving import refusals, upgrades
from serving.flow import FairFlow, QuietTransport
from serving.limits import REQUEST_BYTES, Load
from serving.refusals import MOST_HEAD_BYTES, MOST_HEADERS, MOST_MESSAGE_BYTES, MOST_PIPELINED, MOST_URL_BYTES, Refusal

HOST = b"host"
PIECE_BYTES = 16 << 10  # how much is parsed before the bounds are looked at
UNREAD_MARK_BYTES = 32 << 10  # of answers in memory, before the next request on the connection waits
FIRST_S, UNREAD_S = 30, 30  # for a caller who has connected to begin, and for an answer to be read
LINGER_S, LINGER_BYTES = 2.0, 4 << 20  # for a refusal to be read


class Protocol(HttpToolsProtocol):
    """One connection; `apps` answer in place of the server's application on the ports that they are given for."""

    url = b""

    def __init__(self, load: Load, apps: Mapping[int, Any], **options: Any) -> None:
        super().__init__(**options)
        self._apps = apps
        self.since_s = self.loop.time()
        self.held_bytes = self.unread_bytes = 0
        self._load = load
        self._message_bytes = self._body_bytes = self._lingered_bytes = 0
        self._unsized = 0  # bytes that no whole request has got yet
        self._sizes: deque[int] = deque()  # of whole requests that are not answered
        self._is_whole = True  # nothing of a next request has come
        self._has_head = self._is_answered_early = self._is_next = self._is_deaf = self._is_hostless = self._is_kept_with_body = False
        self._last_words = b""
        self._slow: TimerHandle | None = None
        self._unread_too_long: TimerHandle | None = None
        self._lingering: TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._held_back: tuple[RequestResponseCycle, Any] | None = None

    @property
    def rank(self) -> int | None:
        """None while a request is being answered; the lower, the sooner the connection is dropped for others."""
        if self._is_deaf or (self.cycle is None and self._is_whole):
            return 0
        if not self._is_whole and (not self._has_head or self.cycle.more_body) and len(self._sizes) == 0:
            return 1
        return 2 if self.cycle is None or self.cycle.response_complete else None

    @property
    def is_idle(self) -> bool:
        """Is nothing under way on it?"""
        return self._is_deaf or (self._is_whole and (self.cycle is None or self.cycle.response_complete))

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """One too many where none may go is closed at once."""
        super().connection_made(transport)
        self.transport = QuietTransport(transport)  # type: ignore[assignment]  # it has what is used of one
        self.flow = FairFlow(transport, self._load)
        if self.server is not None:
            self.app = self._apps.get(self.server[1] or 0, self.app)
        transport.set_write_buffer_limits(high=UNREAD_MARK_BYTES)
        self._load.connections.add(self)
        if len(self._load.connections) > self._load.most_connections and not self._load.make_room(self):
            self.drop("connections")
        else:
            self.timeout_keep_alive_task = self.loop.call_later(FIRST_S, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back to the process's sums what the connection held, and cancel its timers."""
        self._load.connections.discard(self)
        self._release(self.held_bytes)
        self._unread(0)
        self._in_time()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces of 16 KiB; E410 (503) where all connections hold too much. After a refusal up to 4 MiB are discarded."""
        if self._is_deaf:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self.transport.abort()
            return
        self._hold(len(data))
        for start in range(0, len(data), PIECE_BYTES):
            if not self._is_deaf:
                self._feed(data[start : start + PIECE_BYTES])
        if self._load.is_too_full and not self._load.shed_waiting() and self.rank is not None:
            self.refuse(refusals.BUSY)

    def _feed(self, piece: bytes) -> None:
        self._is_whole = False
        self._message_bytes += len(piece)
        self._unset_keepalive_if_required()
        try:
            upgrades.feed(self, piece)
        except HttpParserError:
            self.send_400_response("")
        if self._is_deaf:
            return
        if self._message_bytes - self._body_bytes > MOST_HEAD_BYTES or len(self.headers or ()) > MOST_HEADERS:
            self.refuse(refusals.URL_TOO_LONG if len(self.url) > MOST_URL_BYTES else refusals.HEAD_TOO_LARGE)
        elif self._message_bytes > MOST_MESSAGE_BYTES:
            self.refuse(refusals.BODY_TOO_LARGE)
        elif not self._is_whole and self._slow is None:
            self.since_s = self.loop.time()
            self._slow = self.loop.call_later(refusals.SLOW_S, self.refuse, refusals.TOO_SLOW)

    def on_message_begin(self) -> None:
        """Called by the parser: a request has begun, and is not whole."""
        self._is_whole = self._has_head = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Called by the parser for each piece of the URL; nothing is appended past `MOST_URL_BYTES`."""
        if len(self.url) <= MOST_URL_BYTES:
            super().on_url(url)

    def on_headers_complete(self) -> None:
        """Of a head that asks for another protocol nothing more comes from this parser: `upgrades.feed` has it parsed without."""
        if len(self.url) > MOST_URL_BYTES or len(self.headers) > MOST_HEADERS or len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError("a bound is passed; which, is told where the parser's error is")
        if self.parser.should_upgrade():
            return
        if [name for name, _ in self.headers].count(HOST) != 1 and self.parser.get_http_version() == "1.1":
            self._is_hostless = True
            raise ValueError("HTTP/1.1 asks for one field Host")
        self._hold(REQUEST_BYTES)
        before = self.cycle
        super().on_headers_complete()
        self._has_head = True
        if self.expect_100_continue and self.cycle.keep_alive:  # answered without its body, what follows would be taken for that
            self.cycle.keep_alive, self._is_kept_with_body = False, True
        if self._load.is_draining:
            if before is not None and not before.response_started:
                before.keep_alive = True
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Called by the parser for each piece of the body, whose bytes the bound on the head leaves out."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser: the request is whole; its timer stops, and its bytes are held until it is answered."""
        if self.parser.should_upgrade():
            return
        self._is_whole = True
        if self._is_kept_with_body and not (self.cycle.response_started or self._load.is_draining):
            self.cycle.keep_alive = True
        self._is_kept_with_body = False
        if self._slow is not None:
            self._in_time()
        self._message_bytes = self._body_bytes = 0
        if self._is_answered_early:
            self._is_answered_early = False
        else:
            self._sizes.append(self._unsized)
            self._unsized = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Release the answered request's bytes, start the next pipelined one, or send the refusal that came meanwhile."""
        self.transport.flush()  # type: ignore[attr-defined]  # the answer to HEAD has no body
        if self._sizes:
            self._release(self._sizes.popleft())
        else:
            self._is_answered_early = True
            self._release(self._unsized)
            self._unsized = 0
        self.since_s = self.loop.time()
        self._is_next = bool(self.pipeline)
        super().on_response_complete()
        self._is_next = False
        if self._last_words and not self.pipeline and self.cycle.response_complete:
            self._end(self._last_words)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Not before the caller has read what was answered; and what came while that was made, not before what others ask."""
        if self.flow.write_paused:
            self.flow.pause_reading()
            self._held_back = (cycle, app)
        elif self._is_next:
            self._load.run_later(lambda: self._start_now(cycle, app))
        else:
            self._start_now(cycle, app)

    def _start_now(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not cycle.disconnected and not self.transport.is_closing():
            self._running = cycle
            super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """Called at 32 KiB of unread answers: start the 30 s for reading them, and drop others where all together are too much."""
        super().pause_writing()
        self._unread(self.transport.get_write_buffer_size())
        self._load.shed_unread()

    def resume_writing(self) -> None:
        """Called when the caller has read enough: cancel the 30 s, and start the request that waited for it, in its turn."""
        super().resume_writing()
        self._unread(0)
        if self._held_back is not None:
            held, self._held_back = self._held_back, None
            self._load.run_later(lambda: self._start_now(*held))

    def send_400_response(self, _message: str) -> None:
        """Called by uvicorn for whatever cannot be parsed; a value too long for an address is the caller's, and not their HTTP."""
        if len(self.url) > MOST_URL_BYTES:
            self.refuse(refusals.URL_TOO_LONG)
        elif len(self.headers or ()) > MOST_HEADERS:
            self.refuse(refusals.HEAD_TOO_LARGE)
        elif self._is_hostless:
            self.refuse(refusals.HOSTLESS)
        else:
            self.refuse(refusals.PIPELINED if len(self.pipeline) >= MOST_PIPELINED else refusals.NOT_HTTP)

    def refuse(self, refusal: Refusal) -> None:
        """Say why, after the answers that are owed, and close; nothing that still comes is kept."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._is_deaf = True
        self._load.refused(refusal.reason)
        self._in_time()
        words = refusal.response()
        is_begun = self._has_head and not self._is_whole and self.cycle is not None
        if is_begun and (self.cycle.response_started or self.cycle.response_complete):
            words = b""  # it has its answer
        elif is_begun and self.pipeline:
            self.pipeline.popleft()
        elif is_begun:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._sizes:
            self._last_words = words
        else:
            self._end(words)

    def drop(self, reason: str) -> None:
        """Close without a word."""
        self._load.refused(reason)
        self._is_deaf = True
        for cycle in filter(None, (self._running, self.cycle)):
            cycle.disconnected = True  # or it would write before it is told that the connection is lost
            cycle.message_event.set()
        self.pipeline.clear()
        self.transport.abort()

    def shutdown(self) -> None:
        """The process is to end: the last answer on its way says so. A connection that is idle stays, for a request may be on its way."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def _end(self, words: bytes) -> None:
        self._unset_keepalive_if_required()
        self._release(self.held_bytes)
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.transport.write(words)
            self.transport.write_eof()
            self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)

    def _hold(self, size: int) -> None:
        if not self._is_answered_early:
            self._unsized += size
            self.held_bytes += size
            self._load.waiting_bytes += size

    def _release(self, size: int) -> None:
        size = min(size, self.held_bytes)
        self.held_bytes -= size
        self._load.waiting_bytes -= size

    def _unread(self, size: int) -> None:
        """So much of answers waits to be read; too long, and the connection goes."""
        self._load.unread_bytes += size - self.unread_bytes
        self.unread_bytes = size
        if self._unread_too_long is not None:
            self._unread_too_long.cancel()
            self._unread_too_long = None
        if size:
            self._unread_too_long = self.loop.call_later(UNREAD_S, self.drop, "unread")

    def _in_time(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
