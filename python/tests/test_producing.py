"""A producer's run over streams that break anywhere, decided without a server. [ID-1]"""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from gangline.errors import ServerFault
from gangline.producing import BATCH_BYTES
from gangline.producing import BATCH_JOBS
from gangline.producing import PROGRESS_SECONDS
from gangline.producing import WINDOW_JOBS
from gangline.producing import Producer
from gangline.tracking import Tracked
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2


class Service:
    """What a server does with the messages of one producer; it refuses payloads that begin with `bad`."""

    def __init__(self, request_bytes_max: int = 0) -> None:
        self.jobs: list[bytes] = []
        self.request_bytes_max = request_bytes_max
        self.streams = 0

    def take(self, message: job_service_pb2.StreamSubmitRequest) -> job_service_pb2.StreamSubmitResponse | None:
        assert message.ByteSize() <= (self.request_bytes_max or message.ByteSize())
        if message.HasField("start"):
            self.streams += 1
            resumed = job_service_pb2.SubmitResumed(last_ordinal=len(self.jobs), request_bytes_max=self.request_bytes_max)
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
    producer.resumed(answer.resumed)


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
    """Streams break before, between and after the answers, and with a refusal, too; some jobs are refused, and only those."""
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
                # The refusal may overtake answers that came before it.
                for earlier in in_flight[: chance.randint(0, len(in_flight))]:
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


def found(producer: Producer[Tracked], service: Service) -> list[Tracked]:
    """Sends everything, with every answer; what was refused."""
    refused = []
    while not producer.is_done:
        opened(producer, service)
        while producer.has_batch:
            answer = service.take(producer.batch())
            if answer is None:
                handle = producer.refused()
                refused += [handle] if handle is not None else []
                break
            producer.accepted(answer)
    return refused


def test_a_refused_job_is_found_in_few_streams() -> None:
    producer: Producer[Tracked] = Producer("p")
    service = Service()
    handles = [push(producer, b"bad" if number == 700 else b"good") for number in range(2 * BATCH_JOBS)]
    assert found(producer, service) == [handles[700]]
    assert service.streams <= 12


def test_many_refused_jobs_take_a_stream_each() -> None:
    producer: Producer[Tracked] = Producer("p")
    service = Service()
    handles = [push(producer, b"bad") for _ in range(100)]
    assert found(producer, service) == handles
    assert service.streams <= 110


def test_a_message_that_was_accepted_before_is_not_refused_in_the_place_of_another() -> None:
    """The answer to the first job was lost with the refusal of the second: nothing else tells them apart."""
    producer: Producer[Tracked] = Producer("p")
    service = Service()
    opened(producer, service)
    good = push(producer, b"good")
    assert service.take(producer.batch()) is not None, "its answer is lost"
    bad, last = push(producer, b"bad"), push(producer, b"last")
    assert service.take(producer.batch()) is None
    assert producer.refused() is None, "it may be any of them"
    assert found(producer, service) == [bad]
    assert service.jobs == [b"good", b"last"]
    assert good is not last


def test_messages_are_as_large_as_the_server_reads() -> None:
    for request_bytes_max in (1_000, 5_000, BATCH_BYTES, 2 * BATCH_BYTES):
        producer: Producer[Tracked] = Producer("p")
        service = Service(request_bytes_max)
        sizes = [0, 1, 126, 127, 128, 129, 300, 900] * 50
        for size in sizes:
            push(producer, b"x" * size)
        assert found(producer, service) == []
        assert [len(job) for job in service.jobs] == sizes


def test_a_job_that_the_server_cannot_read_ends_the_stream_before_it() -> None:
    producer: Producer[Tracked] = Producer("p")
    service = Service(request_bytes_max=1_000)
    opened(producer, service)
    handles = [push(producer, b"x" * size) for size in (10, 20, 2_000, 30)]
    answer = service.take(producer.batch())
    assert producer.is_cut
    assert not producer.has_batch
    assert answer is not None
    assert len(producer.accepted(answer)) == 2
    too_large = producer.too_large()
    assert too_large is not None
    handle, error = too_large
    assert handle is handles[2]
    assert (error.reason, error.outcome_unknown) == ("PAYLOAD_TOO_LARGE", False)
    for part in ("2043 bytes", "1000", "transport.request_bytes_max"):
        assert part in str(error)
    assert producer.too_large() is None
    assert found(producer, service) == []
    assert [len(job) for job in service.jobs] == [10, 20, 30]


def test_a_stream_stands_still_when_nothing_is_accepted_of_what_is_on_its_way() -> None:
    producer: Producer[Tracked] = Producer("p")
    service = Service()
    producer.start()
    later = PROGRESS_SECONDS + 1
    assert [producer.stands_still(now) for now in (0, later)] == [False, True], "it was not even opened"
    opened(producer, service)
    assert [producer.stands_still(now) for now in (0, later)] == [False, False], "nothing is on its way"
    push(producer, b"1")
    answer = service.take(producer.batch())
    assert [producer.stands_still(now) for now in (0, PROGRESS_SECONDS - 1, later)] == [False, False, True]
    assert answer is not None
    producer.progress_seconds *= 2
    assert not producer.stands_still(later)
    producer.accepted(answer)
    assert producer.progress_seconds == PROGRESS_SECONDS
    assert not producer.stands_still(3 * later)
