"""The task that submits a run of jobs on one stream, which it mends by itself. [ID-1]"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc

from gangline.aio.follower import AsyncFollower
from gangline.aio.handle import AsyncJobHandle
from gangline.aio.signal import Signal
from gangline.connection import Calls
from gangline.errors import CallError
from gangline.errors import Unavailable
from gangline.faults import blames_a_job
from gangline.faults import error_of
from gangline.patience import Patience
from gangline.producing import Producer
from gangline.submitter import LOOKS
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2

logger = logging.getLogger("gangline")

# After so many jobs without a wait the other tasks get their turn.
TURN_JOBS = 200


class AsyncSubmitter:
    """Submits what is pushed, in order. A handle is accepted when it has its id, refused when it has an outcome."""

    def __init__(self, calls: Calls, address: str, follower: AsyncFollower, patience: float) -> None:
        self._calls = calls
        self._address = address
        self._follower = follower
        self._patience = patience
        self._producer: Producer[AsyncJobHandle] = Producer(f"python-{uuid.uuid4().hex}")
        self._changed = Signal()
        self._stream = 0
        self._pushed = 0
        self._is_stalled = False
        self._look: asyncio.TimerHandle
        self._is_finished = False
        self._error: Exception | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def push(self, spec: job_pb2.JobSpec, handle: AsyncJobHandle) -> None:
        """Takes the next job, once there is room.

        Raises:
            CallError: the run is over.
        """
        self._pushed += 1
        if self._pushed % TURN_JOBS == 0:
            await asyncio.sleep(0)
        while not self._producer.has_room and self._error is None:
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        if self._producer.is_done:
            self._follower.expect()
        self._producer.push(spec, handle)
        self._changed.notify()

    def finish(self) -> None:
        """Nothing more is pushed."""
        self._is_finished = True
        self._changed.notify()

    async def wait_for(self, handle: AsyncJobHandle) -> None:
        """Waits until the handle is accepted or refused."""
        while not handle._id and handle._outcome is None:
            await self._changed.wait()

    async def drain(self) -> None:
        """Finishes, and waits until everything is accepted or refused."""
        self.finish()
        await asyncio.wait({self._task})

    async def close(self, reason: Exception) -> None:
        """Gives up what is not accepted yet."""
        self._fail(reason)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        patience = Patience(self._patience)
        while await self._has_work():
            error: CallError = Unavailable("the server ended the submit stream", code="UNAVAILABLE")
            self._stream += 1
            self._is_stalled = False
            call = self._calls.jobs.StreamSubmit(self._messages(self._stream, self._producer.start()))
            self._look_later(call)
            try:
                async for response in call:
                    self._answer(response)
                    patience.restore()
            except grpc.RpcError as failed:
                error = error_of(failed, self._address)
            except CallError as failed:
                error = failed
            except asyncio.CancelledError:
                # So grpc.aio says that the call was cancelled here, which `_look_at` does too.
                if not self._is_stalled:
                    raise
            except Exception as failed:
                logger.exception("an answer cannot be read")
                error = CallError(f"an answer cannot be read: {failed!r}")
            finally:
                self._look.cancel()
                call.cancel()
            if not self._goes_on():
                await self._mend(error, patience)

    def _look_later(self, call: Any) -> None:
        self._look = asyncio.get_running_loop().call_later(self._producer.progress_seconds / LOOKS, self._look_at, call)

    def _look_at(self, call: Any) -> None:
        """Ends a stream on which nothing moves."""
        self._is_stalled = self._producer.stands_still(time.monotonic())
        if self._is_stalled:
            call.cancel()
        else:
            self._look_later(call)

    async def _has_work(self) -> bool:
        """Waits for something to submit; whether there is any before the end."""
        while self._producer.is_done and not self._is_finished and self._error is None:
            await self._changed.wait()
        return not self._producer.is_done and self._error is None

    def _answer(self, response: job_service_pb2.StreamSubmitResponse) -> None:
        if response.HasField("resumed"):
            self._producer.resumed(response.resumed)
        known = self._producer.accepted(response)
        ended = self._follower.track(known)
        if known and self._producer.is_done:
            self._follower.unexpect()
        self._follower.settle(ended)
        self._changed.notify()

    async def _messages(
        self, stream: int, start: job_service_pb2.StreamSubmitRequest
    ) -> AsyncIterator[job_service_pb2.StreamSubmitRequest]:
        """What gRPC sends, in a task of its own that may outlive the call; it asks when it has sent the one before."""
        yield start
        while self._stream == stream:
            if self._producer.has_batch:
                yield self._producer.batch()
            elif self._producer.is_cut or (self._is_finished and self._producer.is_done):
                return
            else:
                await self._changed.wait()

    def _goes_on(self) -> bool:
        """Whether the next stream may follow at once: a server that answers is there, and its queue may be full for long."""
        if not self._is_stalled or not self._producer.is_open:
            return False
        seconds = self._producer.progress_seconds
        self._producer.progress_seconds *= 2
        logger.info("nothing was accepted for %.0f s; opening the submit stream anew (a queue may be full)", seconds)
        return True

    async def _mend(self, error: CallError, patience: Patience) -> None:
        if self._producer.is_done or self._error is not None:
            return
        refused: AsyncJobHandle | None
        too_large = self._producer.too_large()
        if too_large is not None or (self._producer.is_waiting and blames_a_job(error)):
            if too_large is not None:
                refused, error = too_large
            else:
                refused = self._producer.refused()
            if refused is not None:
                if self._producer.is_done:
                    self._follower.unexpect()
                self._follower.settle([(refused, error)])
                self._fail(error)
            return
        pause = patience.pause_after(error)
        if pause is None:
            self._fail(error)
            return
        logger.info("the submit stream broke; resuming in %.2f s where it was: %s", pause, error)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._given_up(), pause)

    async def _given_up(self) -> None:
        while self._error is None:
            await self._changed.wait()

    def _fail(self, error: Exception) -> None:
        """The run is over; what is not known to be accepted hears why."""
        if self._error is None:
            self._error = error
        given_up = self._producer.withdraw()
        if given_up:
            self._follower.unexpect()
        self._follower.settle([(handle, error) for handle in given_up])
        self._changed.notify()
