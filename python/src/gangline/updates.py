"""The update log as a reader sees it: cursors, updates, and the request that asks for them. No call is made here."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from typing import Union

from gangline import payload as payloads
from gangline.jobs import Failure
from gangline.jobs import Progress
from gangline.jobs import failure_of
from gangline.jobs import progress_of
from gangline.jobs import time_of
from gangline.v1 import update_pb2
from gangline.v1 import update_service_pb2


@dataclass(frozen=True)
class Cursor:
    """A place in the update log of one store. `str` and `Cursor.parse` make it something to keep."""

    sequence: int
    """The newest update that has been dealt with; 0: none."""
    store_id: str = ""
    """Which data directory; empty: whichever answers."""

    def __str__(self) -> str:
        return f"{self.store_id}:{self.sequence}"

    @staticmethod
    def parse(text: str) -> Cursor:
        """The cursor that `str` wrote.

        Raises:
            ValueError: it is none.
        """
        store_id, colon, sequence = text.partition(":")
        if not colon or not sequence.isdigit():
            raise ValueError(f"{text!r} is no cursor: it has to be STORE:SEQUENCE, as str(cursor) gives it")
        return Cursor(int(sequence), store_id)


class LogEnd(enum.Enum):
    """An end of the log."""

    FLOOR = update_service_pb2.LOG_END_FLOOR
    """Every update that is still kept."""
    HEAD = update_service_pb2.LOG_END_HEAD
    """Only what comes from now on."""


After = Union[Cursor, LogEnd, int, str, None]


class UpdateKind(enum.Enum):
    """What happened to a job."""

    SUBMITTED = "submitted"
    STARTED = "started"
    PROGRESS = "progress"
    RETRYING = "retrying"
    RELEASED = "released"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RETRIED = "retried"
    DELETED = "deleted"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the job by itself."""
        return self.value in ("succeeded", "dead", "cancelled", "expired")


_NUMBERS: dict[UpdateKind, Any] = {kind: update_pb2.UpdateKind.Value(f"UPDATE_KIND_{kind.name}") for kind in UpdateKind}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}


@dataclass(frozen=True)
class Update:
    """One entry of the update log. Fields that a kind does not have are `None` or empty."""

    sequence: int
    """Its number: 1, 2, 3 ... without a gap over all jobs and queues."""
    kind: UpdateKind
    job_id: str
    queue: str
    time: datetime
    attempt: int
    """Which attempt, from 1; 0 for kinds that are about none."""
    cursor: Cursor
    """Resume after it once this update has been dealt with."""
    progress: Progress | None
    failure: Failure | None
    reason: str
    """Why it was released or cancelled; may be empty."""
    message: update_pb2.Update
    """The message of the API, with everything else."""

    @property
    def result(self) -> Any:
        """What the attempt gave, if it succeeded and results were asked for."""
        if self.kind is not UpdateKind.SUCCEEDED:
            return None
        return payloads.decode(self.message.result, self.message.result_content_type)

    @property
    def payload(self) -> Any:
        """What was submitted, if payloads were asked for."""
        if self.kind is not UpdateKind.SUBMITTED:
            return None
        return payloads.decode(self.message.spec.payload, self.message.spec.content_type)


def update_of(message: update_pb2.Update, store_id: str) -> Update:
    """The update that a message of the API is about."""
    return Update(
        sequence=message.sequence,
        kind=_KINDS[message.kind],
        job_id=message.job_id,
        queue=message.queue,
        time=time_of(message.time),
        attempt=message.attempt,
        cursor=Cursor(message.sequence, store_id),
        progress=progress_of(message.progress) if message.HasField("progress") else None,
        failure=failure_of(message.failure) if message.HasField("failure") else None,
        reason=message.reason,
        message=message,
    )


class Tail:
    """A reader's way along the log over broken links: what to ask for next, and what came. [LOG-2]"""

    def __init__(self, request: update_service_pb2.GetUpdatesRequest) -> None:
        self.request = request
        self._store_id = request.cursor.store_id

    @property
    def stops_at_head(self) -> bool:
        """Whether the end of the stream is the end of the reading."""
        return self.request.follow == update_service_pb2.FOLLOW_MODE_STOP_AT_HEAD

    def feed(self, response: update_service_pb2.GetUpdatesResponse) -> list[Update]:
        """The updates of a response. Call `passed` with each that was handed on, and `finished` after the last."""
        if response.store_id:
            self._store_id = response.store_id
        return [update_of(update, self._store_id) for update in response.batch.updates]

    def passed(self, update: Update) -> None:
        """The reader has this one: a stream that breaks now goes on after it."""
        self._move(update.sequence)

    def finished(self, response: update_service_pb2.GetUpdatesResponse) -> None:
        """The reader has all of the response; the cursor also moves past what the filter dropped."""
        self._move(response.cursor_sequence)

    def _move(self, sequence: int) -> None:
        self.request.cursor.CopyFrom(update_pb2.Cursor(store_id=self._store_id, sequence=sequence))


def tail_of(
    *,
    after: After,
    queue: str | Iterable[str] | None,
    job_ids: Iterable[str],
    kinds: Iterable[UpdateKind],
    include_payload: bool,
    include_result: bool,
    follow: bool,
) -> Tail:
    """The tail that the arguments of `Client.updates` ask for; raises as that does."""
    mode = update_service_pb2.FOLLOW_MODE_FOLLOW if follow else update_service_pb2.FOLLOW_MODE_STOP_AT_HEAD
    request = update_service_pb2.GetUpdatesRequest(
        queues=[queue] if isinstance(queue, str) else queue or (),
        job_ids=job_ids,
        kinds=[_NUMBERS[kind] for kind in kinds],
        include_payload=include_payload,
        include_result=include_result,
        follow=mode,
    )
    if isinstance(after, str):
        after = Cursor.parse(after)
    if isinstance(after, int):
        after = Cursor(after)
    if isinstance(after, Cursor):
        request.cursor.CopyFrom(update_pb2.Cursor(store_id=after.store_id, sequence=after.sequence))
    elif isinstance(after, LogEnd):
        request.end = after.value
    return Tail(request)
