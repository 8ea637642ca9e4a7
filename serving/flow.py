"""What a connection writes to, and when it is read again after it was not."""

from asyncio import Transport

from uvicorn.protocols.http.flow_control import FlowControl

from serving.limits import Load


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
    """A transport that takes nothing more when it is closing, where uvloop's raises: callers may go at any time."""

    def __init__(self, transport: Transport) -> None:
        self._write = transport.write
        self.is_closing, self.close, self.abort = transport.is_closing, transport.close, transport.abort
        self.write_eof, self.get_write_buffer_size = transport.write_eof, transport.get_write_buffer_size

    def write(self, content: bytes) -> None:
        """Write to the transport, and drop the bytes where it is closing."""
        if not self.is_closing():
            self._write(content)
