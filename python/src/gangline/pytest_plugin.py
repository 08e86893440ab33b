"""Fixtures for tests that want a real server; pytest finds them by the package's entry point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gangline.client import Client
    from gangline.testing import Server


@pytest.fixture
def gangline_place(tmp_path: Path) -> Iterator[Server]:
    """A server that is not started yet, for tests that give it pools or flags; it ends with the test."""
    from gangline.testing import Server

    folder = tmp_path / "gangline"
    folder.mkdir()
    with Server(folder) as server:
        yield server
    print(f"--- the server's log ({server.log_path}) ends:")  # noqa: T201  shown by pytest if the test failed
    print(server.log()[-8_000:])  # noqa: T201


@pytest.fixture
def gangline_server(gangline_place: Server) -> Server:
    """A running server without workers, on a temporary directory and a free port."""
    return gangline_place.start()


@pytest.fixture
def gangline_client(gangline_server: Server) -> Iterator[Client]:
    """A client of `gangline_server`."""
    with gangline_server.client() as client:
        yield client
