"""The client for asyncio: `AsyncClient`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import AsyncIterable
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from types import TracebackType
from typing import Any
from typing import Union

import grpc
import grpc.aio

from gangline.aio.follower import AsyncFollower
from gangline.aio.handle import AsyncJobHandle
from gangline.aio.submitter import AsyncSubmitter
from gangline.connection import OPTIONS
from gangline.connection import TRY_SECONDS
from gangline.connection import Calls
from gangline.connection import address_of
from gangline.connection import calls_of
from gangline.connection import nobody_at
from gangline.errors import CallError
from gangline.errors import ClientClosed
from gangline.errors import NotFound
from gangline.errors import ResultForgotten
from gangline.errors import Unavailable
from gangline.errors import WaitTimeout
from gangline.faults import error_of
from gangline.jobs import Job
from gangline.jobs import JobSpec
from gangline.jobs import Outcome
from gangline.jobs import RetryPolicy
from gangline.jobs import job_of
from gangline.jobs import outcome_of_job
from gangline.patience import FOREVER
from gangline.patience import Patience
from gangline.requests import AHEAD
from gangline.requests import Specs
from gangline.requests import cancelled
from gangline.requests import id_of
from gangline.requests import in_parts
from gangline.updates import After
from gangline.updates import Tail
from gangline.updates import Update
from gangline.updates import UpdateKind
from gangline.updates import tail_of
from gangline.v1 import job_service_pb2

logger = logging.getLogger("gangline")

Items = Union[Iterable[Any], AsyncIterable[Any]]


class AsyncClient:
    """As `Client`, with the same names; what waits or makes a call is to be awaited.

    It belongs to the event loop where it was first used.
    """

    def __init__(self, address: str | None = None, *, patience: float = 30.0) -> None:
        """As `Client`."""
        self.address = address_of(address)
        self._patience = patience
        self._was_reached = False
        self._is_closed = False
        self._link: _Link | None = None
        self._submitters: set[AsyncSubmitter] = set()
        self._tails: set[Any] = set()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def channel(self) -> grpc.aio.Channel:
        """For calls that this class does not have: the stubs in `gangline.v1` take it."""
        return self._linked.channel

    async def close(self) -> None:
        """As `Client.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        for submitter in list(self._submitters):
            await submitter.close(_closed())
        for call in list(self._tails):
            call.cancel()
        if self._link is not None:
            await self._link.follower.close(_closed())
            await self._link.channel.close()

    # Submitting.

    async def submit(
        self,
        queue: str,
        payload: Any = None,
        *,
        key: str | None = None,
        content_type: str | None = None,
        priority: int = 0,
        run_at: datetime | None = None,
        expires_at: datetime | None = None,
        timeout: float | timedelta | None = None,
        retry: RetryPolicy | None = None,
        labels: dict[str, str] | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> AsyncJobHandle:
        """As `Client.submit`."""
        spec = JobSpec(
            queue=queue,
            payload=payload,
            content_type=content_type,
            priority=priority,
            run_at=run_at,
            expires_at=expires_at,
            timeout=timeout,
            retry=retry,
            labels=labels,
            traceparent=traceparent,
            tracestate=tracestate,
        )
        request = job_service_pb2.SubmitJobsRequest(jobs=[spec.message()], key=key or uuid.uuid4().hex)
        handle = AsyncJobHandle(self, queue or "default")
        link = self._linked
        with link.follower.expecting():
            answer = await self._call(link.calls.jobs.SubmitJobs, request)
            if answer.repeat:
                # It may have ended long ago: it is looked up when someone asks.
                handle._id = answer.job_ids[0]
            else:
                known = [(handle, answer.job_ids[0], answer.first_sequence - 1)]
                link.follower.settle(link.follower.track(known))
        return handle

    async def submit_many(self, jobs: Items, *, queue: str | None = None, **options: Any) -> AsyncIterator[AsyncJobHandle]:
        """As `Client.submit_many`; `jobs` may be an asynchronous iterable too."""
        specs = Specs(queue, options)
        waiting: deque[AsyncJobHandle] = deque()
        stopped: Exception | None = None
        async with self._submitting() as submitter:
            try:
                async for job in _items(jobs):
                    of_queue, spec = specs.of(job)
                    handle = AsyncJobHandle(self, of_queue)
                    await submitter.push(spec, handle)
                    waiting.append(handle)
                    while waiting and waiting[0]._id:
                        yield waiting.popleft()
            except Exception as error:  # noqa: BLE001  raised again below, after the handles of what went well
                stopped = error
            submitter.finish()
            while waiting:
                handle = waiting.popleft()
                await submitter.wait_for(handle)
                if not handle._id:
                    assert isinstance(handle._outcome, Exception)
                    raise handle._outcome
                yield handle
        if stopped is not None:
            raise stopped

    async def map(
        self,
        queue: str,
        payloads: Items,
        *,
        timeout: float | None = None,
        ahead: int = AHEAD,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """As `Client.map`, but it begins when the first result is asked for, and its time counts from then."""
        specs = Specs(queue, options)
        until = None if timeout is None else _now() + timeout
        waiting: deque[AsyncJobHandle] = deque()
        async with self._submitting() as submitter:
            try:
                async for payload in _items(payloads):
                    of_queue, spec = specs.of(payload)
                    handle = AsyncJobHandle(self, of_queue)
                    await submitter.push(spec, handle)
                    waiting.append(handle)
                    while len(waiting) >= ahead:
                        yield await waiting[0].result(_left(until))
                        waiting.popleft()
                submitter.finish()
                while waiting:
                    yield await waiting[0].result(_left(until))
                    waiting.popleft()
            finally:
                await submitter.drain()
                await self._abandon(waiting)

    async def _abandon(self, handles: Iterable[AsyncJobHandle]) -> None:
        """Cancels what has not ended."""
        ids = [handle.id for handle in handles if handle._id and handle._outcome is None]
        if ids and not self._is_closed:
            with contextlib.suppress(CallError):
                await self.cancel(ids, "its result is no longer asked for")

    @contextlib.asynccontextmanager
    async def _submitting(self) -> AsyncIterator[AsyncSubmitter]:
        """A run of jobs; at the end everything that was pushed is accepted or refused."""
        link = self._linked
        submitter = AsyncSubmitter(link.calls, self.address, link.follower, self._patience)
        self._submitters.add(submitter)
        try:
            yield submitter
        finally:
            await submitter.drain()
            self._submitters.discard(submitter)

    # Asking about jobs.

    def handle(self, job_id: str) -> AsyncJobHandle:
        """As `Client.handle`."""
        handle = AsyncJobHandle(self, "")
        handle._id = id_of(job_id)
        return handle

    async def get(self, job_id: str, *, include_payload: bool = False, include_result: bool = False) -> Job:
        """As `Client.get`."""
        request = job_service_pb2.GetJobRequest(
            job_id=id_of(job_id), include_payload=include_payload, include_result=include_result
        )
        answer = await self._call(self._linked.calls.jobs.GetJob, request)
        return job_of(answer.job)

    async def cancel(self, jobs: Iterable[AsyncJobHandle | str], reason: str = "") -> list[bool]:
        """As `Client.cancel`."""
        done: list[bool] = []
        for ids in in_parts(jobs):
            request = job_service_pb2.CancelJobsRequest(job_ids=ids, reason=reason)
            done += cancelled(await self._call(self._linked.calls.jobs.CancelJobs, request))
        return done

    async def retry(self, jobs: Iterable[AsyncJobHandle | str]) -> list[bool]:
        """As `Client.retry`."""
        done: list[bool] = []
        for ids in in_parts(jobs):
            request = job_service_pb2.RetryJobsRequest(job_ids=ids)
            answer = await self._call(self._linked.calls.jobs.RetryJobs, request, harmless=False)
            done += [result.outcome == job_service_pb2.JOB_OUTCOME_DONE for result in answer.results]
        return done

    async def delete(self, jobs: Iterable[AsyncJobHandle | str]) -> list[bool]:
        """As `Client.delete`."""
        done: list[bool] = []
        for ids in in_parts(jobs):
            request = job_service_pb2.DeleteJobsRequest(job_ids=ids)
            answer = await self._call(self._linked.calls.jobs.DeleteJobs, request)
            done += [result.outcome != job_service_pb2.JOB_OUTCOME_WRONG_STATE for result in answer.results]
        return done

    # The update log.

    def updates(
        self,
        *,
        after: After = None,
        queue: str | Sequence[str] | None = None,
        job_ids: Sequence[str] = (),
        kinds: Sequence[UpdateKind] = (),
        include_payload: bool = False,
        include_result: bool = True,
        follow: bool = True,
    ) -> AsyncIterator[Update]:
        """As `Client.updates`. [LOG-2]"""
        tail = tail_of(
            after=after,
            queue=queue,
            job_ids=job_ids,
            kinds=kinds,
            include_payload=include_payload,
            include_result=include_result,
            follow=follow,
        )
        return self._updates(tail)

    async def _updates(self, tail: Tail) -> AsyncIterator[Update]:
        patience = Patience(FOREVER)
        while True:
            call = self._linked.calls.updates.GetUpdates(tail.request)
            self._tails.add(call)
            error: CallError = Unavailable("the server ended the stream of updates", code="UNAVAILABLE")
            try:
                async for response in call:
                    self._was_reached = True
                    for update in tail.feed(response):
                        tail.passed(update)
                        yield update
                    tail.finished(response)
                    patience.restore()
                if tail.stops_at_head:
                    return
            except grpc.RpcError as failed:
                error = self._failed(failed)
            except asyncio.CancelledError:
                # So grpc.aio says that the call was cancelled here.
                if self._is_closed:
                    raise _closed() from None
                raise
            finally:
                self._tails.discard(call)
                call.cancel()
            await self._pause(error, patience)

    # What handles ask for.

    async def _wait(self, handle: AsyncJobHandle, timeout: float | None) -> Outcome | Exception:
        until = None if timeout is None else _now() + timeout
        while handle._outcome is None:
            waiter = self._linked.follower.want(handle)
            if waiter is None:
                if handle._outcome is None:
                    await self._look_up(handle, until)
                continue
            await asyncio.wait({waiter}, timeout=_left(until))
            if not waiter.done() and handle._outcome is None:
                raise WaitTimeout(f"job {handle._id} has not ended within {timeout} s")
        return handle._outcome

    async def _is_done(self, handle: AsyncJobHandle) -> bool:
        if handle._outcome is None and self._linked.follower.want(handle) is None and handle._outcome is None:
            await self._look_up(handle)
        return handle._outcome is not None

    def _call_when_done(self, handle: AsyncJobHandle, callback: Callable[[AsyncJobHandle], object]) -> None:
        link = self._linked
        if not link.follower.hold(handle, callback):
            asyncio.get_running_loop().call_soon(callback, handle)
        elif handle._id and not handle.is_tracked:
            task = asyncio.get_running_loop().create_task(self._look_up_or_say_why(handle))
            link.tasks.add(task)
            task.add_done_callback(link.tasks.discard)

    async def _look_up_or_say_why(self, handle: AsyncJobHandle) -> None:
        try:
            await self._look_up(handle)
        except CallError as error:
            self._linked.follower.settle([(handle, error)])

    async def _look_up(self, handle: AsyncJobHandle, until: float | None = None) -> None:
        """Learns how the job stands: it has ended, is forgotten, or is tracked from here on."""
        request = job_service_pb2.GetJobRequest(job_id=handle._id, include_result=True)
        link = self._linked
        with link.follower.expecting():
            try:
                answer = await self._call(link.calls.jobs.GetJob, request, until=until)
            except NotFound:
                link.follower.settle([(handle, ResultForgotten(handle._id))])
                return
            outcome = outcome_of_job(answer.job)
            if outcome is not None:
                link.follower.settle([(handle, outcome)])
                return
            handle.queue = answer.job.queue
            link.follower.settle(link.follower.track([(handle, answer.job.id, answer.as_of_sequence)]))

    # Calls.

    @property
    def _linked(self) -> _Link:
        if self._is_closed:
            raise _closed()
        if self._link is None:
            self._link = _Link(self.address, self._look_up)
        return self._link

    async def _call(self, method: Any, request: Any, *, harmless: bool = True, until: float | None = None) -> Any:
        """Makes a call, again and again as far as that is harmless and worth it; `until`: as long as that."""
        patience = Patience(self._patience if until is None else FOREVER)
        while True:
            if self._is_closed:
                raise _closed()
            began = _now()
            left = TRY_SECONDS if until is None else max(0.0, min(TRY_SECONDS, until - began))
            try:
                answer = await method(request, timeout=left)
            except grpc.RpcError as failed:
                error = self._failed(failed)
            except asyncio.CancelledError:
                # So grpc.aio says that the channel was closed.
                if self._is_closed:
                    raise _closed() from None
                raise
            else:
                self._was_reached = True
                return answer
            patience.spend(_now() - began)
            if until is not None and _now() >= until:
                raise WaitTimeout(f"the server has not answered in time: {error}") from error
            await self._pause(error, patience, harmless=harmless)

    def _failed(self, error: grpc.RpcError) -> CallError:
        known = error_of(error, self.address)
        if known.reason:
            self._was_reached = True
        return known

    async def _pause(self, error: CallError, patience: Patience, *, harmless: bool = True) -> None:
        """Waits until the call may be made again, or raises the error."""
        if self._is_closed:
            raise _closed()
        if not self._was_reached and error.code == "UNAVAILABLE":
            raise nobody_at(self.address, error) from error
        pause = patience.pause_after(error, harmless=harmless)
        if pause is None:
            raise error
        logger.info("trying again in %.2f s: %s", pause, error)
        await asyncio.sleep(pause)


class _Link:
    """What belongs to the event loop: made on first use."""

    def __init__(self, address: str, look_up: Callable[[AsyncJobHandle], Any]) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self.calls: Calls = calls_of(self.channel)
        self.follower = AsyncFollower(self.calls, address, look_up)
        self.tasks: set[asyncio.Task[None]] = set()


async def _items(items: Items) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _now() -> float:
    return asyncio.get_running_loop().time()


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - _now())


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed")
