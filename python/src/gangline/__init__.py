"""Client and workers for Gangline, a job queue that does not lose work.

The client: `Client`, `AsyncClient`, `GanglineExecutor`. The worker side: `task`, `progress`, and the program
`python -m gangline.worker`. Names are loaded on first use, because a worker process must never import grpcio.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from gangline.aio.client import AsyncClient as AsyncClient
    from gangline.aio.handle import AsyncJobHandle as AsyncJobHandle
    from gangline.client import Client as Client
    from gangline.errors import CallError as CallError
    from gangline.errors import ClientClosed as ClientClosed
    from gangline.errors import Conflict as Conflict
    from gangline.errors import CursorGone as CursorGone
    from gangline.errors import Exhausted as Exhausted
    from gangline.errors import GanglineError as GanglineError
    from gangline.errors import InvalidArgument as InvalidArgument
    from gangline.errors import JobCancelled as JobCancelled
    from gangline.errors import JobError as JobError
    from gangline.errors import JobExpired as JobExpired
    from gangline.errors import JobFailed as JobFailed
    from gangline.errors import NotFound as NotFound
    from gangline.errors import ResultForgotten as ResultForgotten
    from gangline.errors import ServerFault as ServerFault
    from gangline.errors import Unavailable as Unavailable
    from gangline.errors import WaitTimeout as WaitTimeout
    from gangline.executor import GanglineExecutor as GanglineExecutor
    from gangline.handle import JobHandle as JobHandle
    from gangline.jobs import Failure as Failure
    from gangline.jobs import Job as Job
    from gangline.jobs import JobSpec as JobSpec
    from gangline.jobs import JobState as JobState
    from gangline.jobs import Progress as Progress
    from gangline.jobs import RetryPolicy as RetryPolicy
    from gangline.tasks import JobContext as JobContext
    from gangline.tasks import PermanentError as PermanentError
    from gangline.tasks import current_job as current_job
    from gangline.tasks import progress as progress
    from gangline.tasks import task as task
    from gangline.updates import Cursor as Cursor
    from gangline.updates import LogEnd as LogEnd
    from gangline.updates import Update as Update
    from gangline.updates import UpdateKind as UpdateKind

if sys.version_info < (3, 10):
    # There subprocess forks, and what gRPC does in the fork may kill it before it becomes the other program
    # (https://github.com/grpc/grpc/issues/43055). To be said before gRPC is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Where each name lives. No module may be called like a name in this table: importing it would take the name's place.
_HOMES: dict[str, str] = {
    # The worker side: nothing below these modules may import grpcio.
    "JobContext": "gangline.tasks",
    "PermanentError": "gangline.tasks",
    "current_job": "gangline.tasks",
    "progress": "gangline.tasks",
    "task": "gangline.tasks",
    # The client side.
    "AsyncClient": "gangline.aio.client",
    "AsyncJobHandle": "gangline.aio.handle",
    "Client": "gangline.client",
    "CallError": "gangline.errors",
    "ClientClosed": "gangline.errors",
    "Conflict": "gangline.errors",
    "CursorGone": "gangline.errors",
    "Exhausted": "gangline.errors",
    "GanglineError": "gangline.errors",
    "InvalidArgument": "gangline.errors",
    "JobCancelled": "gangline.errors",
    "JobError": "gangline.errors",
    "JobExpired": "gangline.errors",
    "JobFailed": "gangline.errors",
    "NotFound": "gangline.errors",
    "ResultForgotten": "gangline.errors",
    "ServerFault": "gangline.errors",
    "Unavailable": "gangline.errors",
    "WaitTimeout": "gangline.errors",
    "GanglineExecutor": "gangline.executor",
    "JobHandle": "gangline.handle",
    "Failure": "gangline.jobs",
    "Job": "gangline.jobs",
    "JobSpec": "gangline.jobs",
    "JobState": "gangline.jobs",
    "Progress": "gangline.jobs",
    "RetryPolicy": "gangline.jobs",
    "Cursor": "gangline.updates",
    "LogEnd": "gangline.updates",
    "Update": "gangline.updates",
    "UpdateKind": "gangline.updates",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'gangline' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
