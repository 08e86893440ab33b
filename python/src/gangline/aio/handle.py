"""A job that was submitted, and its result when it comes, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Generator
from typing import TYPE_CHECKING
from typing import Any

from gangline.jobs import Job
from gangline.jobs import Outcome
from gangline.tracking import Tracked

if TYPE_CHECKING:
    from gangline.aio.client import AsyncClient


class AsyncJobHandle(Tracked):
    """As `JobHandle`; what waits or makes a call is to be awaited. `await handle` is `await handle.result()`."""

    __slots__ = ("_callbacks", "_client", "_waiter")

    def __init__(self, client: AsyncClient, queue: str) -> None:
        super().__init__(queue)
        self._client = client
        self._waiter: asyncio.Future[None] | None = None
        self._callbacks: list[Callable[[AsyncJobHandle], object]] | None = None

    @property
    def id(self) -> str:
        """The job's id, a UUID."""
        return self._id

    def __repr__(self) -> str:
        return f"<AsyncJobHandle {self._id or 'not accepted yet'} in {self.queue}>"

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> Any:
        """As `JobHandle.result`; cancelling the task that awaits it does not touch the job."""
        outcome = self._outcome
        if outcome is None:
            outcome = await self._client._wait(self, timeout)
        if isinstance(outcome, Outcome):
            return outcome.value()
        raise outcome.with_traceback(None)

    async def exception(self, timeout: float | None = None) -> Exception | None:
        """As `JobHandle.exception`."""
        try:
            await self._client._wait(self, timeout)
            await self.result()
        except Exception as error:
            if self._outcome is None:
                raise
            return error
        return None

    async def done(self) -> bool:
        """As `JobHandle.done`."""
        return await self._client._is_done(self)

    async def cancel(self, reason: str = "") -> bool:
        """As `JobHandle.cancel`."""
        return (await self._client.cancel([self], reason))[0]

    async def job(self) -> Job:
        """As `JobHandle.job`."""
        return await self._client.get(self.id)

    def add_done_callback(self, callback: Callable[[AsyncJobHandle], object]) -> None:
        """Calls `callback(handle)` on the event loop when the job has ended; at once if it has already."""
        self._client._call_when_done(self, callback)
