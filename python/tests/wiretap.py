"""A proxy between a client and a server that knows which calls are open: it reads the HTTP/2 frames that pass through it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
HEADERS, RST_STREAM, CONTINUATION = 1, 3, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 0x1, 0x4, 0x8, 0x20


class Wiretap:
    """Passes bytes on unchanged, and counts the calls by the last part of their path, such as `GetUpdates`."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = [self._listener]
        self._open: dict[tuple[int, int], str] = {}
        self.begun: Counter[str] = Counter()
        """How many calls were made, by name."""
        self.connections = 0
        """How many connections there were."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Wiretap:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def open(self, name: str) -> int:
        """How many calls of that name are open now."""
        with self._lock:
            return list(self._open.values()).count(name)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            with self._lock:
                self.connections += 1
                number = self.connections
                self._sockets += [client, server]
            up, down = Frames(Side(self, number).asked, skip=len(PREFACE)), Frames(Side(self, number).answered)
            for source, target, frames in ((client, server, up), (server, client, down)):
                threading.Thread(target=_pass_on, args=(source, target, frames), daemon=True).start()

    def begin(self, call: tuple[int, int], name: str) -> None:
        """A client has opened the call."""
        with self._lock:
            self._open[call] = name
            self.begun[name] += 1

    def end(self, call: tuple[int, int]) -> None:
        """One of the two has ended it."""
        with self._lock:
            self._open.pop(call, None)


class Side:
    """What one of the two ends of a connection says."""

    def __init__(self, tap: Wiretap, connection: int) -> None:
        self._tap = tap
        self._connection = connection
        self._decoder = Decoder()
        self._block = b""

    def asked(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        """A frame of the client."""
        if kind == RST_STREAM:
            self._tap.end((self._connection, stream))
        if kind not in (HEADERS, CONTINUATION):
            return
        if kind == HEADERS and flags & PADDED:
            body = body[1 : len(body) - body[0]]
        if kind == HEADERS and flags & PRIORITY:
            body = body[5:]
        self._block += body
        if flags & END_HEADERS:
            headers = dict(self._decoder.decode(self._block, raw=True))
            self._block = b""
            if b":path" in headers:
                self._tap.begin((self._connection, stream), headers[b":path"].decode().rpartition("/")[2])

    def answered(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        """A frame of the server."""
        del body
        if kind == RST_STREAM or (kind in (0, HEADERS) and flags & END_STREAM):
            self._tap.end((self._connection, stream))


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self, tell: Callable[[int, int, int, bytes], None], skip: int = 0) -> None:
        self._tell = tell
        self._skip = skip
        self._bytes = b""

    def feed(self, data: bytes) -> None:
        """Some more of it."""
        self._bytes += data
        skipped = min(self._skip, len(self._bytes))
        self._bytes, self._skip = self._bytes[skipped:], self._skip - skipped
        while len(self._bytes) >= HEAD_BYTES:
            end = HEAD_BYTES + int.from_bytes(self._bytes[:3], "big")
            if len(self._bytes) < end:
                return
            stream = int.from_bytes(self._bytes[5:HEAD_BYTES], "big") & 0x7FFF_FFFF
            self._tell(self._bytes[3], self._bytes[4], stream, self._bytes[HEAD_BYTES:end])
            self._bytes = self._bytes[end:]


def _pass_on(source: socket.socket, target: socket.socket, frames: Frames) -> None:
    with contextlib.suppress(OSError):
        while True:
            data = source.recv(1 << 16)
            if not data:
                break
            # First counted, then passed on: what the other end does about it is seen later.
            frames.feed(data)
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
