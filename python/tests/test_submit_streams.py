"""The stream under a run of jobs: how large its messages are, and what when nothing moves on it. With both clients."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import pack
from conftest import Connect
from conftest import eventually
from faces import DEADLINE
from gangline import Exhausted
from gangline import GanglineExecutor
from gangline import InvalidArgument
from gangline import UpdateKind
from gangline.producing import Producer
from gangline.testing import Server
from gangline.v1 import queue_service_pb2
from gangline.v1 import queue_service_pb2_grpc
from sieve import Sieve

SMALL = ["--payload-bytes-max=256KiB", "--result-bytes-max=256KiB", "--transport-request-bytes-max=400KiB"]
TOO_LARGE = bytes(500_000)


def sizes(client: Any) -> list[int]:
    """Of the payloads of all jobs, in order."""
    updates = client.updates(kinds=[UpdateKind.SUBMITTED], include_payload=True, follow=False)
    return [len(update.payload) for update in updates]


@pytest.fixture
def unrefused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server refuses a message."""

    def refused(producer: Producer[Any]) -> None:
        pytest.fail(f"a message of {producer.name} was refused")

    monkeypatch.setattr(Producer, "refused", refused)


@pytest.mark.usefixtures("unrefused")
def test_messages_are_as_large_as_the_server_reads(place: Server, connect: Connect) -> None:
    client = connect(place.start(*SMALL))
    handles = list(client.submit_many([bytes(200_000)] * 30, queue="sleighs"))
    assert len({handle.id for handle in handles}) == 30
    run = client.submit_many([b"1", bytes(200_000), bytes(200_000), TOO_LARGE, b"2"], queue="sleighs")
    assert len(list(itertools.islice(run, 3))) == 3
    with pytest.raises(InvalidArgument, match=r"of 500\d+ bytes, .* at most 409600 \(transport\.request_bytes_max") as refused:
        next(run)
    assert (refused.value.reason, refused.value.outcome_unknown) == ("PAYLOAD_TOO_LARGE", False)
    assert sizes(client) == [200_000] * 30 + [1, 200_000, 200_000]
    with pytest.raises(Exhausted, match=r"transport\.request_bytes_max.*409600"):
        client.submit("sleighs", TOO_LARGE)


@pytest.mark.usefixtures("unrefused")
def test_a_server_may_come_back_with_a_lower_limit(place: Server, connect: Connect) -> None:
    client = connect(place.start())

    def blobs() -> Iterator[bytes]:
        for number in range(60):
            if number == 30:
                place.kill()
                place.start(*SMALL)
            yield bytes(200_000)

    assert len(list(client.submit_many(blobs(), queue="sleighs"))) == 60
    assert sizes(client) == [200_000] * 60


@pytest.mark.usefixtures("unrefused")
def test_an_executor_goes_on_after_a_job_that_is_too_large(place: Server) -> None:
    place.start(*SMALL)
    with GanglineExecutor(place.address) as executor:
        futures = [executor.submit(pack.pull, "x" * size) for size in (200_000, 500_000, 200_001, 600_000, 1)]
        for future in (futures[1], futures[3]):
            with pytest.raises(InvalidArgument, match=r"transport\.request_bytes_max"):
                future.result(40)
        with place.client() as client:
            eventually(lambda: len(list(client.updates(kinds=[UpdateKind.SUBMITTED], follow=False))) == 3, "the others")
        assert all(future.cancel() for future in futures[::2])


def test_a_stream_on_which_nothing_moves_is_opened_anew(
    place: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is alive, only what is sent on the stream does not arrive. That costs no patience."""
    monkeypatch.setattr("gangline.producing.PROGRESS_SECONDS", 0.3)
    sieve = Sieve(place.start().address, streams=2)
    client = connect(sieve, patience=0)
    handles = list(client.submit_many(range(60), queue="sleighs"))
    assert len(sieve.lost) == 2, "the third stream was the first whole one"
    updates = list(client.updates(kinds=[UpdateKind.SUBMITTED], include_payload=True, follow=False))
    assert [update.payload for update in updates] == list(range(60))
    assert [update.job_id for update in updates] == [handle.id for handle in handles]
    sieve.close()


def test_a_stream_that_is_cancelled_on_the_way_is_opened_anew(place: Server, connect: Connect) -> None:
    sieve = Sieve(place.start().address, streams=2, cancels=True)
    client = connect(sieve)
    handles = list(client.submit_many(range(60), queue="sleighs"))
    assert len(sieve.lost) == 2, "the third stream was the first whole one"
    updates = list(client.updates(kinds=[UpdateKind.SUBMITTED], follow=False))
    assert [update.job_id for update in updates] == [handle.id for handle in handles]
    sieve.close()


def test_a_queue_that_stays_full_is_waited_for(
    place: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That nothing is accepted is no failure while the server says that it is there."""
    monkeypatch.setattr("gangline.producing.PROGRESS_SECONDS", 0.2)
    caplog.set_level("INFO", "gangline")
    client = connect(place.start(), patience=0)
    with place.client() as other:
        queues = queue_service_pb2_grpc.QueueServiceStub(other.channel)  # type: ignore[no-untyped-call]

        def bound(max_pending: int) -> None:
            settings = queue_service_pb2.QueueSettings(max_pending=max_pending)
            queues.UpdateQueue(queue_service_pb2.UpdateQueueRequest(name="sleighs", settings=settings))

        bound(5)

        handles: list[Any] = []
        run = threading.Thread(target=lambda: handles.extend(client.submit_many(range(40), queue="sleighs")), daemon=True)
        run.start()
        eventually(lambda: caplog.text.count("opening the submit stream anew") >= 2, "it was opened anew")
        bound(0)
        run.join(DEADLINE)
        updates = list(other.updates(kinds=[UpdateKind.SUBMITTED], include_payload=True, follow=False))
        assert [update.payload for update in updates] == list(range(40))
        assert [update.job_id for update in updates] == [handle.id for handle in handles]
