"""A way to a server on which connections live and single streams do not: what it lets fall is lost without a word."""

from __future__ import annotations

import contextlib
import socket
import threading

# What every HTTP/2 client sends first, and the head of every frame after it.
PREFACE_BYTES = 24
HEAD_BYTES = 9
DATA = 0


class Sieve:
    """Of the first `streams` calls with more than one message it lets only the first arrive, the others are whole.

    For a client that makes one connection; the threads end with it.
    """

    def __init__(self, server: str, streams: int) -> None:
        self._server = server
        self._streams = streams
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:" + str(self._listener.getsockname()[1])
        self._arrived: set[int] = set()
        self.lost: set[int] = set()
        """The streams on which something was lost."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                host, port = self._server.rsplit(":", 1)
                far = socket.create_connection((host, int(port)))
                for carry in (self._sift, self._copy):
                    threading.Thread(target=carry, args=(near, far), daemon=True).start()

    def _sift(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), near.makefile("rb") as source, far:
            far.sendall(source.read(PREFACE_BYTES))
            while True:
                head = source.read(HEAD_BYTES)
                if len(head) < HEAD_BYTES:
                    return
                body = source.read(int.from_bytes(head[:3], "big"))
                kind, stream = head[3], int.from_bytes(head[5:], "big")
                if kind == DATA and stream in self._arrived and (stream in self.lost or len(self.lost) < self._streams):
                    self.lost.add(stream)
                    continue
                if kind == DATA:
                    self._arrived.add(stream)
                far.sendall(head + body)

    def _copy(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            while True:
                some = far.recv(1 << 16)
                if not some:
                    return
                near.sendall(some)
