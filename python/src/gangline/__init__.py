"""Client and workers for Gangline, a job queue that does not lose work.

The client: `Client`, `AsyncClient`, `GanglineExecutor`. The worker side: `task`, `progress`, and the program
`python -m gangline.worker`. Names are loaded on first use, because a worker process must never import grpcio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from gangline.tasks import JobContext as JobContext
    from gangline.tasks import PermanentError as PermanentError
    from gangline.tasks import current_job as current_job
    from gangline.tasks import progress as progress
    from gangline.tasks import task as task

# Where each name lives. No module may be called like a name in this table: importing it would take the name's place.
_HOMES: dict[str, str] = {
    # The worker side: nothing below these modules may import grpcio.
    "JobContext": "gangline.tasks",
    "PermanentError": "gangline.tasks",
    "current_job": "gangline.tasks",
    "progress": "gangline.tasks",
    "task": "gangline.tasks",
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
