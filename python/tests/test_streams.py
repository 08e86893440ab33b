"""How many calls a client really makes, counted on the wire between it and a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Connect
from conftest import eventually
from faces import DEADLINE
from gangline.testing import Server
from wiretap import Wiretap


@pytest.fixture
def tap(kennel: Server) -> Iterator[Wiretap]:
    """Between the kennel and who connects to this."""
    with Wiretap(kennel.address) as tap:
        yield tap


def test_a_client_has_one_stream_for_all_its_handles(tap: Wiretap, connect: Connect, queue: str) -> None:
    client = connect(tap)
    handles = list(client.submit_many(range(200), queue=queue)) + [client.submit(queue, number) for number in range(50)]
    ended: list[Any] = []
    for handle in handles:
        handle.add_done_callback(ended.append)
    eventually(lambda: tap.open("GetUpdates") == 1, "the handles are waited for on a stream")
    assert all(client.cancel(handles))
    eventually(lambda: len(ended) == len(handles), "all have heard")
    assert (tap.open("GetUpdates"), tap.begun["GetUpdates"], tap.begun["GetJob"], tap.connections) == (1, 1, 0, 1)


def test_another_queue_moves_the_stream_and_adds_none(tap: Wiretap, connect: Connect, queue: str) -> None:
    client = connect(tap)
    queues = [queue, f"{queue}-b", f"{queue}-c"]
    ended: list[Any] = []
    handles = []
    for number in range(60):
        handles.append(client.submit(queues[number // 20], number))
        handles[-1].add_done_callback(ended.append)
    eventually(lambda: tap.open("GetUpdates") == 1, "one stream is open")
    assert all(client.cancel(handles))
    eventually(lambda: len(ended) == len(handles), "all have heard")
    assert tap.open("GetUpdates") == 1
    assert tap.begun["GetUpdates"] <= len(queues)
    assert tap.begun["GetJob"] == 0


def test_a_handle_made_late_asks_once_and_needs_no_stream(tap: Wiretap, kennel: Server, connect: Connect) -> None:
    client = connect(tap)
    with kennel.client() as earlier:
        done = earlier.submit("dogs", ["echo", "late"])
        assert done.result(DEADLINE) == "late"
    handle = client.handle(done.id)
    assert [handle.result(DEADLINE) for _ in range(3)] == ["late"] * 3
    assert (tap.begun["GetJob"], tap.begun["GetUpdates"]) == (1, 0)
