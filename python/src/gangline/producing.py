"""A producer: a run of jobs over one stream that may break, none lost and none doubled. [ID-1]

Pure: it makes no call, takes no lock and reads no clock. Both clients drive it. Jobs that are not known to be accepted are
kept; after a broken link they are sent again from the first of them, also those that the server has accepted meanwhile: it
skips them, and answers with the ids that they got.

Which job a refusal is about, only a message says that holds one job while nothing else is on its way: answers may be lost with
the stream that the refusal ended. So after a refusal messages go one at a time, and become smaller until the job is found.
"""

from __future__ import annotations

from collections import deque
from typing import Generic
from typing import TypeVar
from uuid import UUID

from gangline.errors import InvalidArgument
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
# What a message holds besides its jobs, and besides each of them, at most.
MESSAGE_BYTES = 32
JOB_BYTES = 8
# A stream on which nothing was accepted for so long, with jobs on their way, is opened anew; the next one after twice as long,
# so that a slow link or a queue that stays full does not have it start for ever.
PROGRESS_SECONDS = 120.0

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
        self._stored = 0
        self._request_bytes_max = 0
        # After a refusal: how many jobs the next message holds at most, and among how many the refused one is. 0: none was.
        self._try = 0
        self._suspects = 0
        self.progress_seconds = PROGRESS_SECONDS
        """How long to wait for something to be accepted before the stream is opened anew."""
        self._mark: tuple[int, bool] | None = None
        self._since = 0.0

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
        if not self.is_open or self._sent == len(self._unanswered) or (self._try and self._sent):
            return False
        return self._is_read(self._unanswered[self._sent][1])

    @property
    def is_cut(self) -> bool:
        """Whether the next job is larger than what the server reads: the stream ends before it, for `too_large`."""
        return self.is_open and self._sent < len(self._unanswered) and not self._is_read(self._unanswered[self._sent][1])

    @property
    def is_waiting(self) -> bool:
        """Whether jobs are on their way."""
        return self.is_open and self._sent > 0

    def push(self, spec: job_pb2.JobSpec, handle: H) -> None:
        """Takes the next job, to be called while there is room."""
        size = spec.ByteSize()
        self._unanswered.append((spec, size, handle))
        self._bytes += size

    def start(self) -> job_service_pb2.StreamSubmitRequest:
        """The first message of a new stream."""
        self.is_open = False
        self._sent = 0
        self._mark = None
        start = job_service_pb2.SubmitStart(producer_id=self.name)
        return job_service_pb2.StreamSubmitRequest(start=start)

    def resumed(self, resumed: job_service_pb2.SubmitResumed) -> None:
        """The first answer of a new stream.

        Raises:
            ServerFault: the server knows less than it had acknowledged.
        """
        last_ordinal = resumed.last_ordinal
        if last_ordinal < self._accepted:
            raise ServerFault(
                f"the server knows this producer's jobs only up to number {last_ordinal}, but had accepted "
                f"{self._accepted}: it was restored from an older state, or has forgotten the producer"
            )
        self._stored = last_ordinal
        self._request_bytes_max = resumed.request_bytes_max
        self.is_open = True

    def batch(self) -> job_service_pb2.StreamSubmitRequest:
        """The next message, to be called while there is one."""
        first, size = self._sent, MESSAGE_BYTES
        specs: list[job_pb2.JobSpec] = []
        most = self._try or BATCH_JOBS
        bytes_max = min(BATCH_BYTES, self._request_bytes_max or BATCH_BYTES)
        unanswered = self._unanswered
        for place in range(first, min(first + most, len(unanswered))):
            spec, spec_bytes, _ = unanswered[place]
            size += JOB_BYTES + spec_bytes
            if specs and size > bytes_max:
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
            self._narrow(accepted.count)
        if known:
            self.progress_seconds = PROGRESS_SECONDS
        return known

    def _narrow(self, accepted: int) -> None:
        """So many of the jobs that were sent alone are not the refused one."""
        if not self._try:
            return
        self._suspects = max(0, self._suspects - accepted)
        if self._suspects:
            self._try = (self._suspects + 1) // 2
        elif not self._sent:
            self._try = 2 * self._try if 2 * self._try < BATCH_JOBS else 0

    def too_large(self) -> tuple[H, InvalidArgument] | None:
        """The stream has ended: the job that it ended before, which is taken out, and why. `None`: there is none."""
        if not self.is_open or not self._unanswered or self._is_read(self._unanswered[0][1]):
            return None
        size = MESSAGE_BYTES + JOB_BYTES + self._unanswered[0][1]
        text = (
            f"the job takes a message of {size} bytes, and the server reads at most {self._request_bytes_max} "
            "(transport.request_bytes_max): store the data elsewhere and submit where it is, or raise the server's limit"
        )
        return self._take_out(), InvalidArgument(text, reason="PAYLOAD_TOO_LARGE", outcome_unknown=False)

    def refused(self) -> H | None:
        """A message was refused because of one of its jobs, and the stream ended: the handle of that job, which is taken out.

        To be called while jobs are on their way. `None` if it is not known yet which job it is: it will be after other streams.
        """
        if self._sent == 1:
            self._try, self._suspects = 1, 0
            return self._take_out()
        self._suspects = min(self._sent, BATCH_JOBS)
        self._try = (self._suspects + 1) // 2
        return None

    def _take_out(self) -> H:
        """Gives up the first job."""
        _, size, handle = self._unanswered.popleft()
        self._bytes -= size
        self._sent = 0
        if self._accepted < self._stored:
            # It was accepted before, its answer was lost, and a server with other limits refuses it now: its number is taken.
            self._accepted += 1
        return handle

    def stands_still(self, now: float) -> bool:
        """Whether nothing was accepted for `progress_seconds`, with jobs on their way; to be asked from time to time.

        `now`: seconds of any clock that does not go back.
        """
        mark = None if self.is_open and not self._sent else (self._accepted, self.is_open)
        if mark is None or mark != self._mark:
            self._mark, self._since = mark, now
            return False
        return now - self._since >= self.progress_seconds

    def _is_read(self, spec_bytes: int) -> bool:
        return not self._request_bytes_max or MESSAGE_BYTES + JOB_BYTES + spec_bytes <= self._request_bytes_max

    def withdraw(self) -> list[H]:
        """Gives up what is not known to be accepted: its handles."""
        handles = [handle for _, _, handle in self._unanswered]
        self._unanswered.clear()
        self._bytes = self._sent = self._try = self._suspects = 0
        return handles


def _text(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
