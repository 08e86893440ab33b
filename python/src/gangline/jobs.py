"""What is submitted, and what a job looks like when it is read: plain data, to and from the messages of the API."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from typing import Any
from typing import NamedTuple
from typing import Optional

from google.protobuf import duration_pb2
from google.protobuf import timestamp_pb2

from gangline import payload as payloads
from gangline.errors import JobCancelled
from gangline.errors import JobExpired
from gangline.errors import JobFailed
from gangline.v1 import job_pb2


@dataclass(frozen=True)
class RetryPolicy:
    """Four budgets, each counted alone, and the waiting time between attempts. `None` is the server's default."""

    max_attempts: int | None = None
    """How many attempts may fail, the last one included: 1 never retries. Default: 5."""
    crashed_max: int | None = None
    """How many attempts may crash their process. Default: 3."""
    timed_out_max: int | None = None
    """How many attempts may time out. Default: a time-out counts as failed."""
    lost_max: int | None = None
    """How many attempts may be lost with a server or a link. Default: 20."""
    backoff_initial: float | timedelta | None = None
    """Waiting time after the first failure, in seconds. Default: 1."""
    backoff_factor: float | None = None
    """Growth per failure, at least 1. Default: 2."""
    backoff_max: float | timedelta | None = None
    """The longest waiting time, in seconds. Default: 300."""
    backoff_jitter: float | None = None
    """How much of the waiting time is random, 0 to 1. Default: 0.2."""


@dataclass(frozen=True)
class JobSpec:
    """What is to be done, when, and how often it may be tried."""

    queue: str
    """The queue; made on first use."""
    payload: Any = None
    """What is to be worked on: bytes as they are, anything else as JSON."""
    content_type: str | None = None
    """Media type of the payload, if it is bytes of a known kind."""
    priority: int = 0
    """-100 to 100; of the jobs that are due the higher runs first."""
    run_at: datetime | None = None
    """The job does not start before."""
    expires_at: datetime | None = None
    """The job expires if it has not started by then."""
    timeout: float | timedelta | None = None
    """How long one attempt may run, in seconds."""
    retry: RetryPolicy | None = None
    """How often it may be tried."""
    labels: Mapping[str, str] | None = None
    """Names and values to find the job by."""
    traceparent: str = ""
    """W3C trace context of the submitter."""
    tracestate: str = ""
    """W3C trace state."""

    def message(self) -> job_pb2.JobSpec:
        """As the API has it.

        Raises:
            TypeError: the payload is neither bytes nor something that JSON has, or a field is of another type.
            ValueError: a number does not fit, or a time has no time zone.
        """
        if not isinstance(self.queue, str):
            raise TypeError(f"a queue is named by a str, not by {self.queue!r}: the queue comes first, then the payload")
        data, content_type = payloads.encode(self.payload)
        message = job_pb2.JobSpec(
            queue=self.queue,
            payload=data,
            content_type=content_type if self.content_type is None else self.content_type,
            priority=self.priority,
            labels=self.labels,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
        )
        if self.run_at is not None:
            message.run_at.CopyFrom(timestamp(self.run_at))
        if self.expires_at is not None:
            message.expires_at.CopyFrom(timestamp(self.expires_at))
        if self.timeout is not None:
            message.timeout.CopyFrom(duration(self.timeout))
        if self.retry is not None:
            message.retry_policy.CopyFrom(_policy(self.retry))
        return message


class JobState(enum.Enum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the job by itself."""
        return self not in (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True)
class Progress:
    """How far a running job is."""

    done: float | None
    """Share that is done, 0 to 1; `None`: the worker cannot tell."""
    message: str
    """A few words for people; may be empty."""


@dataclass(frozen=True)
class Failure:
    """How an attempt failed."""

    kind: str
    """`failed`, `crashed`, `timed_out` or `lost`."""
    message: str
    """What the worker or its supervisor said."""
    exit_code: int | None = None
    """Exit code of the process; `None` if it did not exit by itself."""
    signal: int | None = None
    """Number of the signal that killed it; `None` if none did."""
    stderr: str = ""
    """The end of what it wrote to stderr."""


@dataclass(frozen=True)
class Job:
    """A job as it is."""

    id: str
    queue: str
    state: JobState
    attempts: int
    """How many attempts have started."""
    submitted_at: datetime
    due: datetime | None
    """When the next attempt may start; set while waiting."""
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress | None
    """What the running attempt told last."""
    worker_id: str
    """Who holds it; empty unless running."""
    labels: Mapping[str, str]
    failures: tuple[Failure, ...]
    """How its attempts failed, oldest first."""
    message: job_pb2.Job
    """The message of the API, with everything else."""

    @property
    def result(self) -> Any:
        """The result, if the job succeeded and the result was asked for; else `None`."""
        if self.state is not JobState.SUCCEEDED or (self.message.result_bytes and not self.message.result):
            return None
        return payloads.decode(self.message.result, self.message.result_content_type)

    @property
    def payload(self) -> Any:
        """What was submitted, if it was asked for; else `None`."""
        if self.message.payload_bytes and not self.message.spec.payload:
            return None
        return payloads.decode(self.message.spec.payload, self.message.spec.content_type)


class Outcome(NamedTuple):
    """How a job ended, kept as the bytes that came until someone asks."""

    state: JobState
    job_id: str
    data: bytes = b""
    content_type: str = ""
    failure: Optional[Failure] = None
    attempts: int = 0
    reason: str = ""

    def value(self) -> Any:
        """The result.

        Raises:
            JobFailed, JobCancelled, JobExpired: there is none.
            ValueError: the result is not what its media type says.
        """
        if self.state is JobState.SUCCEEDED:
            return payloads.decode(self.data, self.content_type)
        if self.state is JobState.CANCELLED:
            raise JobCancelled(self.job_id, self.reason)
        if self.state is JobState.EXPIRED:
            raise JobExpired(self.job_id)
        failure = self.failure or Failure("failed", "")
        raise JobFailed(
            self.job_id,
            failure.message,
            kind=failure.kind,
            attempts=self.attempts,
            exit_code=failure.exit_code,
            signal=failure.signal,
            stderr=failure.stderr,
        )


_STATES = {
    job_pb2.JOB_STATE_WAITING: JobState.WAITING,
    job_pb2.JOB_STATE_RUNNING: JobState.RUNNING,
    job_pb2.JOB_STATE_SUCCEEDED: JobState.SUCCEEDED,
    job_pb2.JOB_STATE_DEAD: JobState.DEAD,
    job_pb2.JOB_STATE_CANCELLED: JobState.CANCELLED,
    job_pb2.JOB_STATE_EXPIRED: JobState.EXPIRED,
}
_KINDS = {
    job_pb2.FAILURE_KIND_FAILED: "failed",
    job_pb2.FAILURE_KIND_CRASHED: "crashed",
    job_pb2.FAILURE_KIND_TIMED_OUT: "timed_out",
    job_pb2.FAILURE_KIND_LOST: "lost",
}


def job_of(message: job_pb2.Job) -> Job:
    """The job that a message of the API is about."""
    return Job(
        id=message.id,
        queue=message.queue,
        state=_STATES[message.state],
        attempts=message.attempts,
        submitted_at=time_of(message.submitted_at),
        due=time_of(message.due) if message.HasField("due") else None,
        started_at=time_of(message.started_at) if message.HasField("started_at") else None,
        finished_at=time_of(message.finished_at) if message.HasField("finished_at") else None,
        progress=progress_of(message.progress) if message.HasField("progress") else None,
        worker_id=message.worker_id,
        labels=dict(message.spec.labels),
        failures=tuple(failure_of(failed.failure) for failed in message.failures),
        message=message,
    )


def outcome_of_job(message: job_pb2.Job) -> Outcome | None:
    """How the job ended; `None` if it has not."""
    state = _STATES[message.state]
    if not state.is_final:
        return None
    failure = failure_of(message.failures[-1].failure) if message.failures else None
    return Outcome(
        state,
        message.id,
        message.result,
        message.result_content_type,
        failure,
        message.attempts,
        message.cancel_reason,
    )


def failure_of(message: job_pb2.Failure) -> Failure:
    """How an attempt failed, out of a message of the API."""
    process = message.process
    return Failure(
        kind=_KINDS.get(message.kind, "failed"),
        message=message.message,
        exit_code=process.exit_code if process.HasField("exit_code") else None,
        signal=process.signal if process.HasField("signal") else None,
        stderr=process.stderr,
    )


def progress_of(message: job_pb2.Progress) -> Progress:
    """How far an attempt is, out of a message of the API."""
    return Progress(message.done / 10_000 if message.HasField("done") else None, message.message)


def time_of(message: timestamp_pb2.Timestamp) -> datetime:
    """The time in UTC."""
    return datetime.fromtimestamp(message.seconds + message.nanos / 1e9, timezone.utc)


def timestamp(time: datetime) -> timestamp_pb2.Timestamp:
    """The time as the API has it."""
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone: say which one, such as datetime.now(timezone.utc)")
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(time.astimezone(timezone.utc).replace(tzinfo=None))
    return message


def duration(span: float | timedelta) -> duration_pb2.Duration:
    """The time span as the API has it."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    message = duration_pb2.Duration()
    message.FromNanoseconds(round(seconds * 1_000) * 1_000_000)
    return message


def _policy(retry: RetryPolicy) -> job_pb2.RetryPolicy:
    message = job_pb2.RetryPolicy(
        max_attempts=retry.max_attempts,
        crashed_max=retry.crashed_max,
        timed_out_max=retry.timed_out_max,
        lost_max=retry.lost_max,
    )
    backoff = message.backoff
    if retry.backoff_initial is not None:
        backoff.initial.CopyFrom(duration(retry.backoff_initial))
    if retry.backoff_max is not None:
        backoff.max.CopyFrom(duration(retry.backoff_max))
    if retry.backoff_factor is not None:
        backoff.factor_percent = round(retry.backoff_factor * 100)
    if retry.backoff_jitter is not None:
        backoff.jitter_percent = round(retry.backoff_jitter * 100)
    return message
