"""A way to a server on which connections live and single streams do not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import IO

# What every HTTP/2 client sends first, and the head of every frame after it.
PREFACE_BYTES = 24
HEAD_BYTES = 9
DATA = 0
# A whole frame but for its stream, with the code CANCEL.
RST_STREAM = b"\x00\x00\x04\x03\x00%b\x00\x00\x00\x08"


class Sieve:
    """Of the first `streams` calls with more than one message it lets only the first arrive, the others are whole.

    What falls through is lost without a word; or, if it `cancels`, with a word to both ends. For a client that makes one
    connection; the threads end with it.
    """

    def __init__(self, server: str, streams: int, *, cancels: bool = False) -> None:
        self._server = server
        self._streams = streams
        self._cancels = cancels
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:" + str(self._listener.getsockname()[1])
        self._arrived: set[int] = set()
        self._whole_frames = threading.Lock()
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
            for kind, stream, frame in _frames(source):
                if kind == DATA and stream in self._arrived and (stream in self.lost or len(self.lost) < self._streams):
                    if self._cancels and stream not in self.lost:
                        reset = RST_STREAM % stream.to_bytes(4, "big")
                        far.sendall(reset)
                        with self._whole_frames:
                            near.sendall(reset)
                    self.lost.add(stream)
                    continue
                if kind == DATA:
                    self._arrived.add(stream)
                far.sendall(frame)

    def _copy(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), far.makefile("rb") as source, near:
            for _, stream, frame in _frames(source):
                with self._whole_frames:
                    if not (self._cancels and stream in self.lost):
                        near.sendall(frame)


def _frames(source: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Kind, stream and bytes of each."""
    while True:
        head = source.read(HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            return
        body = source.read(int.from_bytes(head[:3], "big"))
        yield head[3], int.from_bytes(head[5:], "big"), head + body
