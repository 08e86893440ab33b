"""What both clients make of their arguments: specs, ids, and requests in parts. No call is made here."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from itertools import islice
from typing import Any

from gangline import payload as payloads
from gangline.errors import InvalidArgument
from gangline.jobs import JobSpec
from gangline.tracking import Tracked
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2

# Jobs that `map` has on their way at a time.
AHEAD = 1_000
# Jobs that one call may name.
IDS_MAX = 10_000


class Specs:
    """Makes the specs of a run of jobs."""

    def __init__(self, queue: str | None, options: Mapping[str, Any]) -> None:
        """Raises `TypeError` for options that `JobSpec` does not have, or that come without a queue."""
        if queue is None and options:
            raise TypeError(f"options are for payloads, and need a queue: {', '.join(options)}")
        self._queue = queue
        self._model = None
        if queue is not None:
            if "payload" in options:
                raise TypeError("the payloads are what is iterated over")
            self._model = JobSpec(queue, **options).message()
            self._model.payload = b""
            self._content_type = options.get("content_type")
            self._is_plain = not options

    def of(self, job: Any) -> tuple[str, job_pb2.JobSpec]:
        """The queue and the spec of the next job; raises as `JobSpec.message` does."""
        if self._model is None:
            if not isinstance(job, JobSpec):
                raise TypeError(f"{job!r} is no JobSpec: for payloads say for which queue they are")
            return job.queue or "default", job.message()
        data, content_type = payloads.encode(job)
        queue = self._queue or "default"
        if self._is_plain:
            return queue, job_pb2.JobSpec(queue=queue, payload=data, content_type=content_type)
        spec = job_pb2.JobSpec()
        spec.CopyFrom(self._model)
        spec.payload = data
        spec.content_type = content_type if self._content_type is None else self._content_type
        return queue, spec


def id_of(job_id: str) -> str:
    """The id as the server writes it.

    Raises:
        InvalidArgument: it is no job id.
    """
    try:
        return str(uuid.UUID(job_id))
    except (ValueError, AttributeError, TypeError):
        text = f"{job_id!r} is no job id: it has to be a UUID"
        raise InvalidArgument(text, reason="INVALID_JOB_ID", outcome_unknown=False) from None


def in_parts(jobs: Iterable[Tracked | str]) -> Iterator[list[str]]:
    """The ids of the jobs, as many at a time as one call may name."""
    ids = iter([job._id if isinstance(job, Tracked) else id_of(job) for job in jobs])
    while part := list(islice(ids, IDS_MAX)):
        yield part


def cancelled(answer: job_service_pb2.CancelJobsResponse) -> list[bool]:
    """Whether each job is cancelled now, by this call or, as far as anyone can tell, by a try of it."""
    return [result.state == job_pb2.JOB_STATE_CANCELLED for result in answer.results]
