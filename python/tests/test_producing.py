"""A producer's run over streams that break anywhere, decided without a server. [ID-1]"""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from gangline.errors import ServerFault
from gangline.producing import BATCH_BYTES
from gangline.producing import WINDOW_JOBS
from gangline.producing import Producer
from gangline.tracking import Tracked
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2


class Service:
    """What a server does with the messages of one producer; it refuses payloads that begin with `bad`."""

    def __init__(self) -> None:
        self.jobs: list[bytes] = []

    def take(self, message: job_service_pb2.StreamSubmitRequest) -> job_service_pb2.StreamSubmitResponse | None:
        if message.HasField("start"):
            resumed = job_service_pb2.SubmitResumed(last_ordinal=len(self.jobs))
            return job_service_pb2.StreamSubmitResponse(resumed=resumed)
        first, payloads = message.batch.first_ordinal, [job.payload for job in message.batch.jobs]
        assert 1 <= first <= len(self.jobs) + 1, "a gap"
        if any(payload.startswith(b"bad") for payload in payloads):
            return None
        assert payloads[: len(self.jobs) + 1 - first] == self.jobs[first - 1 : first - 1 + len(payloads)], "doubled"
        self.jobs += payloads[len(self.jobs) + 1 - first :]
        accepted = job_service_pb2.AcceptedRange(
            first_ordinal=first, count=len(payloads), first_job_id=str(UUID(int=first)), first_sequence=first
        )
        return job_service_pb2.StreamSubmitResponse(accepted=[accepted])


def push(producer: Producer[Tracked], payload: bytes) -> Tracked:
    handle = Tracked("a")
    producer.push(job_pb2.JobSpec(payload=payload), handle)
    return handle


def opened(producer: Producer[Tracked], service: Service) -> None:
    answer = service.take(producer.start())
    assert answer is not None
    producer.resumed(answer.resumed.last_ordinal)


def test_nothing_is_sent_before_the_server_has_said_where_to_go_on() -> None:
    producer: Producer[Tracked] = Producer("p")
    push(producer, b"1")
    assert not producer.has_batch
    opened(producer, Service())
    assert producer.has_batch


def test_a_message_is_bounded_and_so_is_the_window() -> None:
    producer: Producer[Tracked] = Producer("p")
    opened(producer, Service())
    for _ in range(3):
        push(producer, bytes(BATCH_BYTES // 2 + 1))
    push(producer, bytes(2 * BATCH_BYTES))
    sizes = []
    while producer.has_batch:
        sizes.append(len(producer.batch().batch.jobs))
    assert sizes == [1, 1, 1, 1]
    while producer.has_room:
        push(producer, b"")
    assert len(producer.withdraw()) == WINDOW_JOBS


def test_a_server_that_has_forgotten_is_not_believed() -> None:
    producer: Producer[Tracked] = Producer("p")
    service = Service()
    opened(producer, service)
    push(producer, b"1")
    answer = service.take(producer.batch())
    assert answer is not None
    assert len(producer.accepted(answer)) == 1
    with pytest.raises(ServerFault, match="restored from an older state"):
        opened(producer, Service())
    with pytest.raises(ServerFault, match="has not sent"):
        producer.accepted(answer)


@pytest.mark.parametrize("seed", range(200))
def test_each_job_once_and_each_handle_with_its_own_id(seed: int) -> None:
    """Streams break before, between and after the answers; some jobs are refused, and only those."""
    chance = random.Random(seed)
    producer: Producer[Tracked] = Producer("p")
    service = Service()
    payloads = [b"bad" if chance.random() < 0.02 else str(number).encode() for number in range(chance.randint(1, 120))]
    handles = [push(producer, payload) for payload in payloads]
    refused: list[Tracked] = []
    known: dict[Tracked, str] = {}
    while not producer.is_done:
        opened(producer, service)
        in_flight: list[job_service_pb2.StreamSubmitResponse] = []
        while producer.has_batch and chance.random() > 0.1:
            answer = service.take(producer.batch())
            if answer is None:
                for earlier in in_flight:
                    known.update((handle, job_id) for handle, job_id, _ in producer.accepted(earlier))
                in_flight = []
                handle = producer.refused()
                if handle is not None:
                    refused.append(handle)
                break
            in_flight.append(answer)
            if chance.random() < 0.3:
                known.update((handle, job_id) for handle, job_id, _ in producer.accepted(in_flight.pop(0)))
        for answer in in_flight[: chance.randint(0, len(in_flight))]:
            known.update((handle, job_id) for handle, job_id, _ in producer.accepted(answer))
    good = [(handle, payload) for handle, payload in zip(handles, payloads) if payload != b"bad"]
    assert service.jobs == [payload for _, payload in good]
    assert [known[handle] for handle, _ in good] == [str(UUID(int=number + 1)) for number in range(len(good))]
    assert refused == [handle for handle, payload in zip(handles, payloads) if payload == b"bad"]
