"""The task that follows the update log for all handles of a client, on one stream that it mends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import grpc

from gangline.aio.handle import AsyncJobHandle
from gangline.connection import Calls
from gangline.errors import CallError
from gangline.errors import CursorGone
from gangline.errors import GanglineError
from gangline.errors import Unavailable
from gangline.faults import error_of
from gangline.follower import LINGER_SECONDS
from gangline.jobs import Outcome
from gangline.patience import FOREVER
from gangline.patience import Patience
from gangline.tracking import Tracker

logger = logging.getLogger("gangline")

Ended = list[tuple[AsyncJobHandle, Outcome]]


class AsyncFollower:
    """Tells handles how their jobs ended."""

    def __init__(self, calls: Calls, address: str, look_up: Callable[[AsyncJobHandle], Awaitable[object]]) -> None:
        self._calls = calls
        self._address = address
        self._look_up = look_up
        self._tracker: Tracker[AsyncJobHandle] = Tracker()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._idle_since: float | None = None
        # Handles with callbacks: nobody else may hold them.
        self._held: set[AsyncJobHandle] = set()
        self._closed: Exception | None = None

    def expect(self) -> None:
        """A submit begins."""
        self._tracker.expect()

    def unexpect(self) -> None:
        """It is over."""
        self._tracker.unexpect()

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """While a submit or a look-up is on its way."""
        self.expect()
        try:
            yield
        finally:
            self.unexpect()

    def track(self, known: Iterable[tuple[AsyncJobHandle, str, int]]) -> Ended:
        """Jobs that are known by now: to be called while they are expected. Those that have ended are to be settled."""
        now, ended = self._loop.time(), []
        for handle, job_id, since in known:
            outcome = self._tracker.track(handle, job_id, since, now)
            if outcome is not None:
                ended.append((handle, outcome))
            else:
                # Whoever waited for it to be accepted asks again, so that there is a stream.
                wake(handle)
        if self._held or self._tracker.is_active:
            self._activate()
        return ended

    def settle(self, ended: Iterable[tuple[AsyncJobHandle, Outcome | Exception]]) -> None:
        """These have ended: whoever waits hears it."""
        for handle, outcome in ended:
            if handle._outcome is not None:
                continue
            handle._outcome = outcome
            handle.is_tracked = False
            wake(handle)
            if handle._callbacks:
                self._held.discard(handle)
                for callback in handle._callbacks:
                    self._loop.call_soon(callback, handle)

    def want(self, handle: AsyncJobHandle) -> asyncio.Future[None] | None:
        """Someone waits for the handle: what is done when there is something new; `None`: look at it, or it up."""
        if self._closed is not None:
            raise self._closed
        if handle.is_tracked:
            self._activate()
        if handle._outcome is not None or (handle._id and not handle.is_tracked):
            return None
        if handle._waiter is None:
            handle._waiter = self._loop.create_future()
        return handle._waiter

    def hold(self, handle: AsyncJobHandle, callback: Callable[[AsyncJobHandle], object]) -> bool:
        """Keeps the callback for when the job ends; `False` if it has."""
        if handle._outcome is not None:
            return False
        handle._callbacks = [*(handle._callbacks or ()), callback]
        self._held.add(handle)
        if handle.is_tracked:
            self._activate()
        return True

    async def close(self, reason: Exception) -> None:
        """Ends the task; whoever waits hears the reason."""
        self._closed = reason
        self.settle((handle, reason) for handle in {*self._tracker.waiting(), *self._held})
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _activate(self) -> None:
        """Sees to it that there is a stream, and that it fits."""
        self._tracker.activate(self._loop.time())
        if not self._tracker.is_active or self._closed is not None:
            return
        task = self._task
        if task is not None and not task.done():
            if not self._tracker.is_stale or task is asyncio.current_task():
                return
            task.cancel()
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        """Until nobody waits any more. To be cancelled at any time: what was not fed comes again."""
        patience = Patience(FOREVER)
        self._idle_since = None
        while self._tracker.is_active:
            call = self._calls.updates.GetUpdates(self._tracker.request())
            error: CallError = Unavailable("the server ended the stream of updates", code="UNAVAILABLE")
            try:
                await self._read(call, patience)
            except grpc.RpcError as failed:
                error = error_of(failed, self._address)
            except Exception as failed:
                logger.exception("an update cannot be read")
                error = CallError(f"an update cannot be read: {failed!r}")
            finally:
                call.cancel()
            if self._tracker.is_active and not self._tracker.is_stale:
                await self._mend(error, patience)

    async def _read(self, call: Any, patience: Patience) -> None:
        async for response in call:
            self.settle(self._tracker.feed(response))
            patience.restore()
            if self._tracker.is_stale or self._is_over():
                return

    def _is_over(self) -> bool:
        """Whether nobody has waited for anything for a while."""
        now = self._loop.time()
        if not self._tracker.is_idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > LINGER_SECONDS:
            self._tracker.rest()
            return True
        return False

    async def _mend(self, error: CallError, patience: Patience) -> None:
        if isinstance(error, CursorGone):
            logger.warning("the updates cannot be followed from where they were; looking the jobs up: %s", error)
            await self._look_all_up()
            return
        pause = patience.pause_after(error)
        if pause is None:
            logger.error("the updates cannot be followed: %s", error)
            self.settle([(handle, error) for handle in self._tracker.start_over()])
            return
        logger.info("the stream of updates broke; resuming in %.2f s where it was: %s", pause, error)
        await asyncio.sleep(pause)

    async def _look_all_up(self) -> None:
        """Whoever waits looks up by itself; for callbacks it is done here."""
        for handle in self._tracker.start_over():
            wake(handle)
        for handle in [handle for handle in self._held if handle._id]:
            try:
                await self._look_up(handle)
            except GanglineError as error:
                self.settle([(handle, error)])


def wake(handle: AsyncJobHandle) -> None:
    """Whoever waits for the handle looks again."""
    waiter, handle._waiter = handle._waiter, None
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
