"""A job that was submitted, and its result when it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

from gangline.jobs import Job
from gangline.jobs import Outcome
from gangline.tracking import Tracked

if TYPE_CHECKING:
    from gangline.client import Client


class JobHandle(Tracked):
    """A job and its result. `Client.submit` and its like make it, or `Client.handle` out of an id."""

    __slots__ = ("_callbacks", "_client", "_waiter")

    def __init__(self, client: Client, queue: str) -> None:
        super().__init__(queue)
        self._client = client
        self._waiter: threading.Event | None = None
        self._callbacks: list[Callable[[JobHandle], object]] | None = None

    @property
    def id(self) -> str:
        """The job's id, a UUID."""
        return self._id

    def __repr__(self) -> str:
        return f"<JobHandle {self._id or 'not accepted yet'} in {self.queue}>"

    def result(self, timeout: float | None = None) -> Any:
        """The result, once the job has succeeded: out of JSON or text, or bytes, as its media type says.

        Waits as long as it takes, also over restarts of the server, or `timeout` seconds.

        Raises:
            JobFailed, JobCancelled, JobExpired: the job ended otherwise.
            ResultForgotten: the server no longer knows the job.
            WaitTimeout: the time is over; the job goes on.
            CallError: the server cannot be asked.
        """
        outcome = self._outcome
        if outcome is None:
            outcome = self._client._wait(self, timeout)
        if isinstance(outcome, Outcome):
            return outcome.value()
        raise outcome.with_traceback(None)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Why the job has no result, once it has ended; `None` if it has one. Waits and raises as `result` does."""
        try:
            self._client._wait(self, timeout)
            self.result()
        except Exception as error:
            if self._outcome is None:
                raise
            return error
        return None

    def done(self) -> bool:
        """Whether it is known here that the job has ended; asks for it to become known, and does not wait."""
        return self._client._is_done(self)

    def cancel(self, reason: str = "") -> bool:
        """Cancels the job, waiting or running.

        Returns whether it is cancelled now; `False`: it had ended before, or is not known any more. Raises `CallError`.
        """
        return self._client.cancel([self], reason)[0]

    def job(self) -> Job:
        """The job as it is now, with its progress and its failed attempts. Raises as `Client.get` does."""
        return self._client.get(self.id)

    def add_done_callback(self, callback: Callable[[JobHandle], object]) -> None:
        """Calls `callback(handle)` when the job has ended, on a thread of the client; at once if it has already."""
        self._client._call_when_done(self, callback)
