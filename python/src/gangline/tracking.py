"""Which handle waits for which job, and what the update log says of them: the state behind the one stream of a client.

Pure: it makes no call, takes no lock and reads no clock. Both clients drive it: they open a stream with `request`, feed it
what comes, and open another one when `is_stale`.

A handle that nobody holds any more is not waited for. While a submit is on its way (`expecting`) updates of jobs that are
not known yet are kept, because a job may end before its submitter hears of its id.
"""

from __future__ import annotations

from typing import Generic
from typing import TypeVar
from weakref import WeakValueDictionary

from gangline.jobs import JobState
from gangline.jobs import Outcome
from gangline.jobs import failure_of
from gangline.v1 import update_pb2
from gangline.v1 import update_service_pb2

# Updates of unknown jobs that are kept while a submit is on its way. [MEM-1]
STRAYS_MAX = 20_000
STRAYS_BYTES_MAX = 16 << 20
# More queues than the API lets a reader name: then all of them.
QUEUES_MAX = 1_000
# What was submitted longer ago than this when someone first asks is looked up, not read out of the log again.
FRESH_SECONDS = 60.0

_STATES = {
    update_pb2.UPDATE_KIND_SUCCEEDED: JobState.SUCCEEDED,
    update_pb2.UPDATE_KIND_DEAD: JobState.DEAD,
    update_pb2.UPDATE_KIND_CANCELLED: JobState.CANCELLED,
    update_pb2.UPDATE_KIND_EXPIRED: JobState.EXPIRED,
}


class Tracked:
    """A job that someone may wait for: what both kinds of handle have in common."""

    __slots__ = ("__weakref__", "_id", "_outcome", "is_tracked", "queue", "since", "tracked_at")

    def __init__(self, queue: str) -> None:
        self._id = ""
        self._outcome: Outcome | Exception | None = None
        self.queue = queue
        self.since = 0
        """Every update that matters has a later sequence."""
        self.tracked_at = 0.0
        """When it became known, on the caller's clock."""
        self.is_tracked = False
        """Whether the stream will tell how the job ends; else it has to be looked up."""


H = TypeVar("H", bound=Tracked)


class Tracker(Generic[H]):
    """All handles of a client that wait."""

    def __init__(self) -> None:
        self._pending: WeakValueDictionary[str, H] = WeakValueDictionary()
        # From which sequence on the stream tells all of a queue.
        self._covered: dict[str, int] = {}
        self._all_covered: int | None = None
        self._expecting = 0
        self._strays: dict[str, Outcome] = {}
        self._strays_bytes = 0
        self._lost_through = 0
        self._cursor = 0
        self._store_id = ""
        self.is_active = False
        """Whether there is to be a stream."""
        self.is_stale = False
        """Whether the open stream no longer fits what is waited for."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not self._expecting and not len(self._pending)

    def waiting(self) -> list[H]:
        """Every handle that waits."""
        return list(self._pending.values())

    def expect(self) -> None:
        """A submit or a look-up begins."""
        self._expecting += 1

    def unexpect(self) -> None:
        """It is over: its handles are tracked."""
        self._expecting -= 1
        if not self._expecting:
            self._strays.clear()
            self._strays_bytes = 0
            self._lost_through = 0

    def track(self, handle: H, job_id: str, since: int, now: float) -> Outcome | None:
        """The handle's job is known by now: to be called while it is expected.

        Returns how it ended if that was seen already. Else the handle is tracked, or has to be looked up.
        """
        handle._id = job_id
        handle.since = since
        handle.tracked_at = now
        if self.is_active:
            outcome = self._strays.pop(job_id, None)
            if outcome is not None:
                return outcome
            if self._lost_through > since:
                return None
            covered = self._covered.get(handle.queue, self._all_covered)
            if covered is None or since < covered:
                # The stream has not looked into this queue, or not from this early on.
                self._covered.pop(handle.queue, None)
                self._cursor = min(self._cursor, since)
                self.is_stale = True
        handle.is_tracked = True
        self._pending[job_id] = handle
        return None

    def activate(self, now: float) -> None:
        """Someone waits: there has to be a stream."""
        if self.is_active:
            return
        waiting = self.waiting()
        for handle in waiting:
            if now - handle.tracked_at > FRESH_SECONDS:
                self.untrack(handle)
        self._cursor = min((handle.since for handle in waiting if handle.is_tracked), default=0)
        self._covered.clear()
        self._all_covered = None
        self.is_active = bool(len(self._pending))

    def untrack(self, handle: H) -> None:
        """The handle has to be looked up."""
        self._pending.pop(handle._id, None)
        handle.is_tracked = False

    def rest(self) -> None:
        """The stream is closed; there is none until someone waits again."""
        self.is_active = False
        self.is_stale = False

    def request(self) -> update_service_pb2.GetUpdatesRequest:
        """What the stream is to be opened with."""
        queues = {handle.queue for handle in self._pending.values()}
        if len(queues) > QUEUES_MAX:
            queues = set()
        if queues:
            self._all_covered = None
        elif self._all_covered is None or self.is_stale:
            self._all_covered = self._cursor
        self._covered = {queue: self._covered.get(queue, self._cursor) for queue in queues}
        self.is_stale = False
        return update_service_pb2.GetUpdatesRequest(
            cursor=update_pb2.Cursor(store_id=self._store_id, sequence=self._cursor),
            queues=sorted(queues),
            kinds=list(_STATES),
            include_result=True,
        )

    def feed(self, response: update_service_pb2.GetUpdatesResponse) -> list[tuple[H, Outcome]]:
        """What came on the stream: the handles whose jobs have ended, and how."""
        ended = []
        pending = self._pending
        for update in response.batch.updates:
            handle = pending.pop(update.job_id, None)
            if handle is not None:
                ended.append((handle, _outcome_of(update)))
            elif self._expecting:
                self._keep(update)
        self._cursor = response.cursor_sequence
        self._store_id = response.store_id or self._store_id
        return ended

    def start_over(self) -> list[H]:
        """The log cannot be read on from here: every handle has to be looked up, and the next stream is a new one."""
        waiting = self.waiting()
        for handle in waiting:
            self.untrack(handle)
        self._store_id = ""
        if self._expecting:
            self._lost_through = 1 << 63
        self.rest()
        return waiting

    def _keep(self, update: update_pb2.Update) -> None:
        if len(self._strays) >= STRAYS_MAX or self._strays_bytes >= STRAYS_BYTES_MAX:
            self._strays.clear()
            self._strays_bytes = 0
            self._lost_through = update.sequence
        self._strays_bytes += len(update.result)
        self._strays[update.job_id] = _outcome_of(update)


def _outcome_of(update: update_pb2.Update) -> Outcome:
    state = _STATES[update.kind]
    if state is JobState.SUCCEEDED:
        return Outcome(state, update.job_id, update.result, update.result_content_type)
    failure = failure_of(update.failure) if update.HasField("failure") else None
    return Outcome(state, update.job_id, b"", "", failure, update.attempt, update.reason)
