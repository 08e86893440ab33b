"""A producer: a run of jobs over one stream that may break, none lost and none doubled. [ID-1]

Pure: it makes no call, takes no lock and reads no clock. Both clients drive it. Jobs that are not known to be accepted are
kept; after a broken link they are sent again from the first of them, also those that the server has accepted meanwhile: it
skips them, and answers with the ids that they got.
"""

from __future__ import annotations

from collections import deque
from typing import Generic
from typing import TypeVar
from uuid import UUID

from gangline.errors import ServerFault
from gangline.tracking import Tracked
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2

# Jobs, and their bytes, that may be on their way without an answer: fewer than the server remembers the ids of (16,384), and
# enough for the full rate. [MEM-1]
WINDOW_JOBS = 8_000
WINDOW_BYTES = 16 << 20
# One message holds at most so many jobs and, if it is more than one, so many bytes.
BATCH_JOBS = 1_000
BATCH_BYTES = 1 << 20

H = TypeVar("H", bound=Tracked)


class Producer(Generic[H]):
    """The jobs of one producer that are not known to be accepted, in order, each with its handle."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = False
        """Whether the server has said where to go on, so that batches may be sent."""
        self._accepted = 0
        self._unanswered: deque[tuple[job_pb2.JobSpec, int, H]] = deque()
        self._bytes = 0
        self._sent = 0
        self._alone = 0

    @property
    def has_room(self) -> bool:
        """Whether one more job may be pushed."""
        return len(self._unanswered) < WINDOW_JOBS and self._bytes < WINDOW_BYTES

    @property
    def is_done(self) -> bool:
        """Whether everything is accepted."""
        return not self._unanswered

    @property
    def has_batch(self) -> bool:
        """Whether there is something to be sent now."""
        return self.is_open and self._sent < len(self._unanswered)

    def push(self, spec: job_pb2.JobSpec, handle: H) -> None:
        """Takes the next job, to be called while there is room."""
        size = spec.ByteSize()
        self._unanswered.append((spec, size, handle))
        self._bytes += size

    def start(self) -> job_service_pb2.StreamSubmitRequest:
        """The first message of a new stream."""
        self.is_open = False
        self._sent = 0
        start = job_service_pb2.SubmitStart(producer_id=self.name)
        return job_service_pb2.StreamSubmitRequest(start=start)

    def resumed(self, last_ordinal: int) -> None:
        """The first answer of a new stream.

        Raises:
            ServerFault: the server knows less than it had acknowledged.
        """
        if last_ordinal < self._accepted:
            raise ServerFault(
                f"the server knows this producer's jobs only up to number {last_ordinal}, but had accepted "
                f"{self._accepted}: it was restored from an older state, or has forgotten the producer"
            )
        self.is_open = True

    def batch(self) -> job_service_pb2.StreamSubmitRequest:
        """The next message, to be called while there is one."""
        first, size = self._sent, 0
        specs: list[job_pb2.JobSpec] = []
        most = 1 if self._alone > first else BATCH_JOBS
        unanswered = self._unanswered
        for place in range(first, min(first + most, len(unanswered))):
            spec, spec_bytes, _ = unanswered[place]
            size += spec_bytes
            if specs and size > BATCH_BYTES:
                break
            specs.append(spec)
        self._sent += len(specs)
        batch = job_service_pb2.SubmitJobBatch(first_ordinal=self._accepted + first + 1, jobs=specs)
        return job_service_pb2.StreamSubmitRequest(batch=batch)

    def accepted(self, response: job_service_pb2.StreamSubmitResponse) -> list[tuple[H, str, int]]:
        """The handles whose jobs are accepted, each with its id and the sequence after which all its updates are.

        Raises:
            ServerFault: the answer cannot be.
        """
        known = []
        for accepted in response.accepted:
            if accepted.first_ordinal != self._accepted + 1 or accepted.count > len(self._unanswered):
                raise ServerFault("the server accepts jobs that this producer has not sent")
            number, since = UUID(accepted.first_job_id).int, accepted.first_sequence - 1
            for place in range(accepted.count):
                _, size, handle = self._unanswered.popleft()
                self._bytes -= size
                known.append((handle, _text(number + place), since))
            self._accepted += accepted.count
            self._sent -= accepted.count
            self._alone = max(0, self._alone - accepted.count)
        return known

    def refused(self) -> H | None:
        """A batch was refused because of one of its jobs, and the stream ended: the handle of that job, which is taken out.

        `None` if it is not known yet which job it is: it will be after another stream, on which each goes alone.
        """
        if self._alone and self._unanswered:
            self._alone -= 1
            _, size, handle = self._unanswered.popleft()
            self._bytes -= size
            return handle
        self._alone = min(len(self._unanswered), BATCH_JOBS)
        return None

    def withdraw(self) -> list[H]:
        """Gives up what is not known to be accepted: its handles."""
        handles = [handle for _, _, handle in self._unanswered]
        self._unanswered.clear()
        self._bytes = self._sent = self._alone = 0
        return handles


def _text(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
