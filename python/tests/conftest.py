"""Servers of the binary under test, and both clients behind one face."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import TypeVar

import pytest

from faces import DEADLINE
from faces import Loop
from faces import faced
from gangline import Client
from gangline.testing import BINARY_VARIABLE
from gangline.testing import Server

ROOT = Path(__file__).resolve().parents[2]
DOG = [sys.executable, str(Path(__file__).parent / "workers" / "dog.py")]

os.environ.setdefault(BINARY_VARIABLE, str(ROOT / "target" / "debug" / "gangline"))

# Started in the background by a shell, the suite ignores Ctrl-C, and so would every process that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

T = TypeVar("T")
Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of one kind or the other; they are closed with the test."""
    loop = Loop()
    clients = []

    def make(server: Server, **options: Any) -> Any:
        client = Client(server.address, **options) if request.param == "sync" else faced(server.address, loop, **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
    loop.close()


@pytest.fixture
def place(gangline_place: Server) -> Server:
    """A server that is not started yet, with two workers that do what they are told, for the queue `dogs`."""
    return gangline_place.pool(DOG, queues=["dogs"])


@pytest.fixture(scope="session")
def kennel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with two workers that do what they are told, for the queue `dogs`; never restarted."""
    folder = tmp_path_factory.mktemp("kennel")
    with Server(folder).pool(DOG, queues=["dogs"]).start() as server:
        yield server


@pytest.fixture
def client(kennel: Server, connect: Connect) -> Any:
    """A client of the kennel."""
    return connect(kennel)


_queues = itertools.count(1)


@pytest.fixture
def queue() -> str:
    """The name of a queue that nobody else uses, and that has no workers."""
    return f"queue-{next(_queues)}"


def eventually(look: Callable[[], T], what: str) -> T:
    """The first true answer of `look`, asked again and again until the deadline."""
    until = time.monotonic() + DEADLINE
    while True:
        answer = look()
        if answer:
            return answer
        assert time.monotonic() < until, f"not within {DEADLINE} s: {what}; the last answer was {answer!r}"
        time.sleep(0.01)
