"""Flow control of a connection: fair resumption of reading, and a transport that batches writes."""

from asyncio import Transport

from uvicorn.protocols.http.flow_control import FlowControl

from serving.http.connection_limits import Load

RESPONSE, CONTINUE = b"HTTP/1.1 ", b"HTTP/1.1 100 "


class FairFlowControl(FlowControl):
    """Resumes paused connections in turn, a few in each iteration of the event loop.

    A connection with a long body is paused until its data are consumed; if all resumed at once, a small request would wait for them.
    """

    def __init__(self, transport: Transport, load: Load) -> None:
        super().__init__(transport)
        self._load, self._is_in_queue, self._is_wanted = load, False, False

    def pause_reading(self) -> None:
        """Pause reading, and cancel a `resume_reading` that is still queued."""
        self._is_wanted = False
        super().pause_reading()

    def resume_reading(self) -> None:
        """Queue the connection in `Load.run_later` to resume reading, unless it is queued already or not paused."""
        self._is_wanted = True
        if self.read_paused and not self._is_in_queue:
            self._is_in_queue = True
            self._load.run_later(self._resume)

    def _resume(self) -> None:
        self._is_in_queue = False
        if self._is_wanted and not self._transport.is_closing():
            super().resume_reading()


class QuietTransport:
    """A transport that drops writes while it is closing, where uvloop's raises, since clients may disconnect at any time.

    The head of a response is held until the body, which uvicorn writes right after: one system call sends both.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing, self.abort = transport.is_closing, transport.abort
        self.get_write_buffer_size = transport.get_write_buffer_size

    def write(self, content: bytes) -> None:
        """Write to the transport, or drop the bytes if it is closing."""
        if self._head:
            head, self._head = self._head, b""
            if not self.is_closing():
                self._transport.writelines((head, content))
        elif content.startswith(RESPONSE) and not content.startswith(CONTINUE):
            self._head = content
        elif not self.is_closing():
            self._transport.write(content)

    def flush(self) -> None:
        """Write the held head of a response without a body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close after everything is written."""
        self.flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Half-close the connection after everything is written."""
        self.flush()
        self._transport.write_eof()
