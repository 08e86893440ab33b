"""What can go wrong, as exceptions; nothing here knows gRPC.

`CallError` and what is below it: a call to the server did not succeed, and `reason` says why to programs (the table is
docs/errors.md). `JobError` and what is below it: the call went well, and a job has no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class GanglineError(Exception):
    """Any of the exceptions below."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross processes, and these are not made of their `args` alone.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[GanglineError], args: tuple[Any, ...], state: dict[str, Any]) -> GanglineError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class CallError(GanglineError):
    """A call did not succeed."""

    def __init__(
        self,
        text: str,
        *,
        reason: str = "",
        code: str = "",
        retry_after: float | None = None,
        fields: Sequence[str] = (),
        outcome_unknown: bool = True,
    ) -> None:
        super().__init__(f"{text} [{reason or code}]" if reason or code else text)
        self.text = text
        """For people."""
        self.reason = reason
        """The server's reason, such as `QUEUE_FULL`; empty if the transport failed."""
        self.code = code
        """The gRPC code, such as `RESOURCE_EXHAUSTED`; empty if the call was never made."""
        self.retry_after = retry_after
        """After how many seconds it is worth trying again, if the server said so."""
        self.fields = tuple(fields)
        """What is wrong with the request: field and description, if the server said so."""
        self.outcome_unknown = outcome_unknown
        """Whether the call may have happened all the same; else nothing was changed."""


class InvalidArgument(CallError, ValueError):  # noqa: N818  named as the code is
    """The server does not allow what the call says: correct it."""


class NotFound(CallError, LookupError):  # noqa: N818
    """What the call names does not exist, or has been forgotten."""


class Conflict(CallError):  # noqa: N818
    """What is there already forbids it: a key that was used for other jobs, a job in another state."""


class CursorGone(CallError):  # noqa: N818
    """The updates after the cursor are no longer kept, or it belongs to another history."""


class Exhausted(CallError):  # noqa: N818
    """There is no room: a full queue, a full disk, too many calls."""


class Unavailable(CallError, ConnectionError):  # noqa: N818
    """No server answers, or the link to it broke, for longer than the client's patience."""


class ServerFault(CallError):  # noqa: N818
    """The server has a bug, or damaged data; or something between here and it refused."""


class JobError(GanglineError):
    """A job has no result."""

    def __init__(self, job_id: str, text: str) -> None:
        super().__init__(f"job {job_id} {text}")
        self.job_id = job_id
        """Its id."""


class JobFailed(JobError):  # noqa: N818
    """The job is dead: its last attempt failed too."""

    def __init__(
        self,
        job_id: str,
        message: str,
        *,
        kind: str,
        attempts: int,
        exit_code: int | None = None,
        signal: int | None = None,
        stderr: str = "",
    ) -> None:
        super().__init__(job_id, f"{kind.replace('_', ' ')} after {attempts} attempt{'s' * (attempts != 1)}: {message}")
        self.message = message
        """What the worker or its supervisor said of the last attempt."""
        self.kind = kind
        """How the last attempt failed: `failed`, `crashed`, `timed_out` or `lost`."""
        self.attempts = attempts
        """How many attempts there were."""
        self.exit_code = exit_code
        """Exit code of the process of the last attempt; `None` if it did not exit by itself."""
        self.signal = signal
        """Number of the signal that killed it; `None` if none did."""
        self.stderr = stderr
        """The end of what it wrote to stderr."""


class JobCancelled(JobError):  # noqa: N818
    """Someone cancelled the job."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(job_id, f"was cancelled: {reason}" if reason else "was cancelled")
        self.reason = reason
        """Why, in the words of who cancelled it; may be empty."""


class JobExpired(JobError):  # noqa: N818
    """The job was not started before its expiry."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "expired before it was started")


class ResultForgotten(JobError):  # noqa: N818
    """The server does not know the job: it was deleted, retention has passed over it, or there never was one."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "is not known to the server: deleted, forgotten by retention, or never there")


class WaitTimeout(GanglineError, TimeoutError):  # noqa: N818
    """The time that the caller gave is over; the job goes on."""


class ClientClosed(GanglineError, RuntimeError):  # noqa: N818
    """The client was closed before or under the call."""
