"""What a connection writes to, and when it is read again after it was not."""

from asyncio import Transport

from uvicorn.protocols.http.flow_control import FlowControl

from serving.limits import Load

ANSWER, CONTINUE = b"HTTP/1.1 ", b"HTTP/1.1 100 "


class FairFlow(FlowControl):
    """Reading goes on in turn: a few connections each time that the event loop has looked at all.

    One that sends a long body is not read until what came is taken; were all that do read on at once, a small request would wait for them.
    """

    def __init__(self, transport: Transport, load: Load) -> None:
        super().__init__(transport)
        self._load, self._is_in_queue, self._is_wanted = load, False, False

    def pause_reading(self) -> None:
        """Stop reading from the connection, and withdraw a `resume_reading` that has not had its turn."""
        self._is_wanted = False
        super().pause_reading()

    def resume_reading(self) -> None:
        """Queue the connection to be read again by `Load.run_later`; nothing where it is queued already or was never paused."""
        self._is_wanted = True
        if self.read_paused and not self._is_in_queue:
            self._is_in_queue = True
            self._load.run_later(self._resume)

    def _resume(self) -> None:
        self._is_in_queue = False
        if self._is_wanted and not self._transport.is_closing():
            super().resume_reading()


class QuietTransport:
    """A transport that takes nothing more when it is closing, where uvloop's raises: callers may go at any time.

    The head of an answer waits for the body, which uvicorn writes by itself right after: one system call sends both.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing, self.abort = transport.is_closing, transport.abort
        self.get_write_buffer_size = transport.get_write_buffer_size

    def write(self, content: bytes) -> None:
        """Write to the transport, and drop the bytes where it is closing."""
        if self._head:
            head, self._head = self._head, b""
            if not self.is_closing():
                self._transport.writelines((head, content))
        elif content.startswith(ANSWER) and not content.startswith(CONTINUE):
            self._head = content
        elif not self.is_closing():
            self._transport.write(content)

    def flush(self) -> None:
        """Write the head of an answer that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close when all is written."""
        self.flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Say that nothing more comes."""
        self.flush()
        self._transport.write_eof()
