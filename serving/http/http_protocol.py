"""uvicorn's HTTP/1.1 connection (httptools, llhttp) with limits.

uvicorn limits neither the size of a head, the number of headers, the time to send or read, nor the number of pipelined requests: its
connection is extended here by counting, and parses nothing itself. After a refusal received data are discarded for a while, since a
response is lost if a connection closes with unread data.
"""

from asyncio import TimerHandle, Transport
from collections import deque
from collections.abc import Mapping
from typing import Any

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.http import request_limits, upgrades
from serving.http.connection_limits import REQUEST_BYTES, Load
from serving.http.flow_control import FairFlowControl, QuietTransport
from serving.http.request_limits import MAX_HEAD_BYTES, MAX_HEADERS, MAX_MESSAGE_BYTES, MAX_PIPELINED, MAX_URL_BYTES, Refusal

HOST = b"host"
PIECE_BYTES = 16 << 10  # parsed at a time, before limits are checked
UNREAD_MARK_BYTES = 32 << 10  # of unread responses, above which the next request on the connection waits
FIRST_S, UNREAD_S = 30, 30  # for the first byte of a new connection, and for a response to be read
LINGER_S, LINGER_BYTES = 2.0, 4 << 20  # for an error response to be read


class Protocol(HttpToolsProtocol):
    """One connection; `apps` maps a port to the application that is served there instead of the server's."""

    url = b""

    def __init__(self, load: Load, apps: Mapping[int, Any], **options: Any) -> None:
        super().__init__(**options)
        self._apps = apps
        self.since_s = self.loop.time()
        self.held_bytes = self.unread_bytes = 0
        self._load = load
        self._message_bytes = self._body_bytes = self._lingered_bytes = 0
        self._unsized = 0  # bytes of the incomplete request
        self._sizes: deque[int] = deque()  # bytes of complete requests that are not answered
        self._is_whole = True  # no part of a next request has been received
        self._has_head = self._is_answered_early = self._is_next = self._is_refused = self._is_hostless = self._is_kept_with_body = False
        self._final_response = b""
        self._slow: TimerHandle | None = None
        self._unread_too_long: TimerHandle | None = None
        self._lingering: TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._held_back: tuple[RequestResponseCycle, Any] | None = None

    @property
    def rank(self) -> int | None:
        """Order of load shedding, lowest first; None while a request is being answered."""
        if self._is_refused or (self.cycle is None and self._is_whole):
            return 0
        if not self._is_whole and (not self._has_head or self.cycle.more_body) and len(self._sizes) == 0:
            return 1
        return 2 if self.cycle is None or self.cycle.response_complete else None

    @property
    def is_idle(self) -> bool:
        """Whether no request is incomplete or being answered."""
        return self._is_refused or (self._is_whole and (self.cycle is None or self.cycle.response_complete))

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Register the connection; drop it if there are too many and no other may be dropped."""
        super().connection_made(transport)
        self.transport = QuietTransport(transport)  # type: ignore[assignment]  # it has the methods that are used
        self.flow = FairFlowControl(transport, self._load)
        if self.server is not None:
            self.app = self._apps.get(self.server[1] or 0, self.app)
        transport.set_write_buffer_limits(high=UNREAD_MARK_BYTES)
        self._load.connections.add(self)
        if len(self._load.connections) > self._load.most_connections and not self._load.make_room(self):
            self.drop("connections")
        else:
            self.timeout_keep_alive_task = self.loop.call_later(FIRST_S, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection's bytes from the process's sums, and cancel its timers."""
        self._load.connections.discard(self)
        self._release(self.held_bytes)
        self._unread(0)
        self._cancel_slow()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces of 16 KiB; E444 (503) if all connections hold too much. After a refusal up to 4 MiB are discarded."""
        if self._is_refused:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self.transport.abort()
            return
        self._hold(len(data))
        for start in range(0, len(data), PIECE_BYTES):
            if not self._is_refused:
                self._feed(data[start : start + PIECE_BYTES])
        if self._load.is_too_full and not self._load.shed_waiting() and self.rank is not None:
            self.refuse(request_limits.BUSY)

    def _feed(self, piece: bytes) -> None:
        self._is_whole = False
        self._message_bytes += len(piece)
        self._unset_keepalive_if_required()
        try:
            upgrades.feed(self, piece)
        except HttpParserError:
            self.send_400_response("")
        if self._is_refused:
            return
        if self._message_bytes - self._body_bytes > MAX_HEAD_BYTES or len(self.headers or ()) > MAX_HEADERS:
            self.refuse(request_limits.URL_TOO_LONG if len(self.url) > MAX_URL_BYTES else request_limits.HEAD_TOO_LARGE)
        elif self._message_bytes > MAX_MESSAGE_BYTES:
            self.refuse(request_limits.BODY_TOO_LARGE)
        elif not self._is_whole and self._slow is None:
            self.since_s = self.loop.time()
            self._slow = self.loop.call_later(request_limits.SLOW_S, self.refuse, request_limits.TOO_SLOW)

    def on_message_begin(self) -> None:
        """Parser callback: a request has begun."""
        self._is_whole = self._has_head = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Parser callback for each piece of the URL; nothing is appended beyond `MAX_URL_BYTES`."""
        if len(self.url) <= MAX_URL_BYTES:
            super().on_url(url)

    def on_headers_complete(self) -> None:
        """Parser callback: checks the limits of the head; one with `Upgrade` is parsed again by `upgrades.feed`."""
        if len(self.url) > MAX_URL_BYTES or len(self.headers) > MAX_HEADERS or len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("a limit is exceeded; send_400_response finds out which")
        if self.parser.should_upgrade():
            return
        if [name for name, _ in self.headers].count(HOST) != 1 and self.parser.get_http_version() == "1.1":
            self._is_hostless = True
            raise ValueError("HTTP/1.1 requires one Host header")
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
        """Parser callback for each piece of the body, whose bytes do not count for the limit of the head."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Parser callback: the request is complete; its timer stops, and its bytes are held until it is answered."""
        if self.parser.should_upgrade():
            return
        self._is_whole = True
        if self._is_kept_with_body and not (self.cycle.response_started or self._load.is_draining):
            self.cycle.keep_alive = True
        self._is_kept_with_body = False
        if self._slow is not None:
            self._cancel_slow()
        self._message_bytes = self._body_bytes = 0
        if self._is_answered_early:
            self._is_answered_early = False
        else:
            self._sizes.append(self._unsized)
            self._unsized = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Release the answered request's bytes, start the next pipelined one, or send a pending error response."""
        self.transport.flush()  # type: ignore[attr-defined]  # the response to HEAD has no body
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
        if self._final_response and not self.pipeline and self.cycle.response_complete:
            self._end(self._final_response)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start a request once earlier responses are read; a pipelined one waits its turn behind other connections."""
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
        """Called at 32 KiB of unread responses: start the timer of 30 s, and shed load if all together are too much."""
        super().pause_writing()
        self._unread(self.transport.get_write_buffer_size())
        self._load.shed_unread()

    def resume_writing(self) -> None:
        """Called when the client has read enough: cancel the timer, and queue the request that waited for it."""
        super().resume_writing()
        self._unread(0)
        if self._held_back is not None:
            held, self._held_back = self._held_back, None
            self._load.run_later(lambda: self._start_now(*held))

    def send_400_response(self, _message: str) -> None:
        """Called by uvicorn for a parser error; refuses with the limit that was exceeded, or E400 for invalid HTTP."""
        if len(self.url) > MAX_URL_BYTES:
            self.refuse(request_limits.URL_TOO_LONG)
        elif len(self.headers or ()) > MAX_HEADERS:
            self.refuse(request_limits.HEAD_TOO_LARGE)
        elif self._is_hostless:
            self.refuse(request_limits.HOSTLESS)
        else:
            self.refuse(request_limits.PIPELINED if len(self.pipeline) >= MAX_PIPELINED else request_limits.NOT_HTTP)

    def refuse(self, refusal: Refusal) -> None:
        """Send an error response after the pending responses, and close; data received afterwards are discarded."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._load.refused(refusal.reason)
        self._cancel_slow()
        words = refusal.response()
        is_begun = self._has_head and not self._is_whole and self.cycle is not None
        if is_begun and (self.cycle.response_started or self.cycle.response_complete):
            words = b""  # it is answered already
        elif is_begun and self.pipeline:
            self.pipeline.popleft()
        elif is_begun:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._sizes:
            self._final_response = words
        else:
            self._end(words)

    def drop(self, reason: str) -> None:
        """Close without a response; `reason` is the label of the metric."""
        self._load.refused(reason)
        self._is_refused = True
        for cycle in filter(None, (self._running, self.cycle)):
            cycle.disconnected = True  # otherwise it would write before it learns that the connection is lost
            cycle.message_event.set()
        self.pipeline.clear()
        self.transport.abort()

    def shutdown(self) -> None:
        """Drain: the response under way closes the connection. An idle one stays, since a request may be under way."""
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
        """Set the bytes of unread responses, and start the timer that drops the connection."""
        self._load.unread_bytes += size - self.unread_bytes
        self.unread_bytes = size
        if self._unread_too_long is not None:
            self._unread_too_long.cancel()
            self._unread_too_long = None
        if size:
            self._unread_too_long = self.loop.call_later(UNREAD_S, self.drop, "unread")

    def _cancel_slow(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
