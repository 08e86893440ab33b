"""The client: submits jobs, hands out their results, and reads the update log, over any restart of the server."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from types import TracebackType
from typing import Any

import grpc

from gangline.connection import OPTIONS
from gangline.connection import TRY_SECONDS
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
from gangline.follower import Follower
from gangline.handle import JobHandle
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
from gangline.submitter import Submitter
from gangline.updates import After
from gangline.updates import Tail
from gangline.updates import Update
from gangline.updates import UpdateKind
from gangline.updates import tail_of
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2

logger = logging.getLogger("gangline")


class Client:
    """A connection to a server, for any number of threads. `AsyncClient` is the same for asyncio.

    Calls that are harmless to repeat, and all are made so, are repeated while the server is away: for `patience` seconds. A
    server that was never reached is not waited for. Waiting for results and reading updates goes on for as long as it takes.
    """

    def __init__(self, address: str | None = None, *, patience: float = 30.0) -> None:
        """`address`: `host:port`; by default what `GANGLINE_SERVER` says, else `127.0.0.1:4264`."""
        self.address = address_of(address)
        self.channel = grpc.insecure_channel(self.address, options=OPTIONS)
        """For calls that this class does not have: the stubs in `gangline.v1` take it."""
        self._calls = calls_of(self.channel)
        self._patience = patience
        self._was_reached = False
        self._closed = threading.Event()
        self._follower = Follower(self._calls, self.address, self._look_up)
        self._submitters: set[Submitter] = set()
        self._tails: set[grpc.Call] = set()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends all streams. Jobs that were submitted are not touched; who waits for one gets `ClientClosed`."""
        if self._closed.is_set():
            return
        self._closed.set()
        for submitter in list(self._submitters):
            submitter.close(_closed())
        for call in list(self._tails):
            call.cancel()
        self._follower.close(_closed())
        self.channel.close()

    # Submitting.

    def submit(
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
    ) -> JobHandle:
        """Submits one job; it is on stable storage when this returns. The options are those of `JobSpec`.

        `key`: a second submit with the same key and job makes no second job, also from another process and after a restart;
        it gives a handle of the first. Without one, repeats of this very call are as harmless.

        Raises:
            TypeError, ValueError: the job cannot be written down, nothing was sent.
            CallError: `Conflict` if the key was used for another job; `Exhausted` if the queue stays full.
        """
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
        handle = JobHandle(self, queue or "default")
        with self._follower.expecting():
            answer = self._call(self._calls.jobs.SubmitJobs, request)
            if answer.repeat:
                # It may have ended long ago: it is looked up when someone asks.
                handle._id = answer.job_ids[0]
                ended = []
            else:
                ended = self._follower.track([(handle, answer.job_ids[0], answer.first_sequence - 1)])
        self._follower.settle(ended)
        return handle

    def submit_many(self, jobs: Iterable[Any], *, queue: str | None = None, **options: Any) -> Iterator[JobHandle]:
        """Submits a run of jobs on one stream; gives their handles in order, each once its job is on stable storage.

        `jobs` are `JobSpec`s; or payloads, if `queue` says for which queue, and then `options` are those of `JobSpec` for all.
        They are taken as handles are asked for, at most some thousands ahead, and not while the queue is full. A job that was
        taken is submitted, also if the caller stops asking, and once, whatever happens to the connection.

        Raises:
            CallError: the server refuses a job: all before it are submitted and their handles given, none after it is.
            TypeError, ValueError: a job cannot be written down, with the same effect.
        """
        specs = Specs(queue, options)
        return self._submit_many(jobs, specs)

    def _submit_many(self, jobs: Iterable[Any], specs: Specs) -> Iterator[JobHandle]:
        waiting: deque[JobHandle] = deque()
        stopped: Exception | None = None
        with self._submitting(stops=True) as submitter:
            try:
                for job in jobs:
                    queue, spec = specs.of(job)
                    handle = JobHandle(self, queue)
                    submitter.push(spec, handle)
                    waiting.append(handle)
                    while waiting and waiting[0]._id:
                        yield waiting.popleft()
            except Exception as error:  # noqa: BLE001  raised again below, after the handles of what went well
                stopped = error
            submitter.finish()
            while waiting:
                handle = waiting.popleft()
                submitter.wait_for(handle)
                if not handle._id:
                    assert isinstance(handle._outcome, Exception)
                    raise handle._outcome
                yield handle
        if stopped is not None:
            raise stopped

    def map(
        self, queue: str, payloads: Iterable[Any], *, timeout: float | None = None, ahead: int = AHEAD, **options: Any
    ) -> Iterator[Any]:
        """Submits a job a payload and gives their results in the order of the payloads, like `concurrent.futures`.

        Begins at once. At most `ahead` jobs are on their way or wait to be asked for. The first job without a result raises
        why; then, and when the caller stops asking, jobs that have not ended are cancelled. `options` are those of `JobSpec`
        except its `timeout`.

        Raises:
            WaitTimeout: a result is asked for and is not there `timeout` seconds after the call.
        """
        until = None if timeout is None else time.monotonic() + timeout
        results = self._map(payloads, Specs(queue, options), until, ahead)
        next(results)
        return results

    def _map(self, payloads: Iterable[Any], specs: Specs, until: float | None, ahead: int) -> Iterator[Any]:
        waiting: deque[JobHandle] = deque()
        source = iter(payloads)
        with self._submitting(stops=True) as submitter:
            try:
                begun = False
                for payload in source:
                    queue, spec = specs.of(payload)
                    handle = JobHandle(self, queue)
                    submitter.push(spec, handle)
                    waiting.append(handle)
                    while len(waiting) >= ahead:
                        if not begun:
                            begun = True
                            yield None
                        yield waiting[0].result(_left(until))
                        waiting.popleft()
                submitter.finish()
                if not begun:
                    yield None
                while waiting:
                    yield waiting[0].result(_left(until))
                    waiting.popleft()
            finally:
                submitter.drain()
                self._abandon(waiting)

    def _abandon(self, handles: Iterable[JobHandle]) -> None:
        """Cancels what has not ended."""
        ids = [handle.id for handle in handles if handle._id and handle._outcome is None]
        if ids and not self._closed.is_set():
            with contextlib.suppress(CallError):
                self.cancel(ids, "its result is no longer asked for")

    @contextlib.contextmanager
    def _submitting(self, *, stops: bool) -> Iterator[Submitter]:
        """A run of jobs; at the end everything that was pushed is accepted or refused."""
        submitter = self._submitter(stops=stops)
        try:
            yield submitter
        finally:
            submitter.drain()
            self._submitters.discard(submitter)

    def _submitter(self, *, stops: bool) -> Submitter:
        if self._closed.is_set():
            raise _closed()
        submitter = Submitter(self._calls, self.address, self._follower, self._patience, stops=stops)
        self._submitters = {known for known in self._submitters if not known.is_over} | {submitter}
        return submitter

    # Asking about jobs.

    def handle(self, job_id: str) -> JobHandle:
        """A handle of a job that was submitted earlier, by anyone. No call is made: `result` looks the job up."""
        handle = JobHandle(self, "")
        handle._id = id_of(job_id)
        return handle

    def get(self, job_id: str, *, include_payload: bool = False, include_result: bool = False) -> Job:
        """The job as it is now.

        Raises:
            NotFound: there is no such job, or it has been forgotten.
        """
        request = job_service_pb2.GetJobRequest(
            job_id=id_of(job_id), include_payload=include_payload, include_result=include_result
        )
        return job_of(self._call(self._calls.jobs.GetJob, request).job)

    def cancel(self, jobs: Iterable[JobHandle | str], reason: str = "") -> list[bool]:
        """Cancels jobs, waiting or running; whether each is cancelled now. `False`: it had ended before, or is not known."""
        done: list[bool] = []
        for ids in in_parts(jobs):
            request = job_service_pb2.CancelJobsRequest(job_ids=ids, reason=reason)
            done += cancelled(self._call(self._calls.jobs.CancelJobs, request))
        return done

    def retry(self, jobs: Iterable[JobHandle | str]) -> list[bool]:
        """Gives dead jobs a new generation; whether each was dead. Not repeated if the link breaks under the call."""
        done: list[bool] = []
        for ids in in_parts(jobs):
            answer = self._call(self._calls.jobs.RetryJobs, job_service_pb2.RetryJobsRequest(job_ids=ids), harmless=False)
            done += [result.outcome == job_service_pb2.JOB_OUTCOME_DONE for result in answer.results]
        return done

    def delete(self, jobs: Iterable[JobHandle | str]) -> list[bool]:
        """Forgets jobs that have ended; whether each is forgotten now. `False`: it has not ended."""
        done: list[bool] = []
        for ids in in_parts(jobs):
            answer = self._call(self._calls.jobs.DeleteJobs, job_service_pb2.DeleteJobsRequest(job_ids=ids))
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
    ) -> Iterator[Update]:
        """Every update after a place in the log, in order, each once, as they come; goes on by itself where it broke. [LOG-2]

        `after`: a `Cursor`, what `str` made of one, a sequence, or an end of the log; by default all that is still kept.
        `queue`, `job_ids`, `kinds`: only these. `follow=False`: ends at the newest update as of the call.

        Raises:
            CursorGone: the updates after the cursor are no longer kept, or it belongs to another history.
            CallError: the server refuses.
        """
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

    def _updates(self, tail: Tail) -> Iterator[Update]:
        patience = Patience(FOREVER)
        while True:
            if self._closed.is_set():
                raise _closed()
            call = self._calls.updates.GetUpdates(tail.request)
            self._tails.add(call)
            error: CallError = Unavailable("the server ended the stream of updates", code="UNAVAILABLE")
            try:
                for response in call:
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
            finally:
                self._tails.discard(call)
                call.cancel()
            self._pause(error, patience)

    # What handles ask for.

    def _wait(self, handle: JobHandle, timeout: float | None) -> Outcome | Exception:
        until = None if timeout is None else time.monotonic() + timeout
        while handle._outcome is None:
            waiter = self._follower.want(handle)
            if waiter is None:
                if handle._outcome is None:
                    self._look_up(handle, until)
            elif not waiter.wait(_left(until)) and handle._outcome is None:
                raise WaitTimeout(f"job {handle._id} has not ended within {timeout} s")
        return handle._outcome

    def _is_done(self, handle: JobHandle) -> bool:
        if handle._outcome is None and self._follower.want(handle) is None and handle._outcome is None:
            self._look_up(handle)
        return handle._outcome is not None

    def _call_when_done(self, handle: JobHandle, callback: Callable[[JobHandle], object]) -> None:
        if not self._follower.hold(handle, callback):
            callback(handle)
        elif handle._id and not handle.is_tracked:
            self._look_up(handle)

    def _look_up(self, handle: JobHandle, until: float | None = None) -> None:
        """Learns how the job stands: it has ended, is forgotten, or is tracked from here on."""
        request = job_service_pb2.GetJobRequest(job_id=handle._id, include_result=True)
        ended: list[tuple[JobHandle, Outcome | Exception]] = []
        with self._follower.expecting():
            try:
                answer = self._call(self._calls.jobs.GetJob, request, until=until)
            except NotFound:
                ended.append((handle, ResultForgotten(handle._id)))
            else:
                ended += self._tracked(handle, answer)
        self._follower.settle(ended)

    def _tracked(self, handle: JobHandle, answer: job_service_pb2.GetJobResponse) -> list[tuple[JobHandle, Outcome]]:
        job: job_pb2.Job = answer.job
        outcome = outcome_of_job(job)
        if outcome is not None:
            return [(handle, outcome)]
        handle.queue = job.queue
        return self._follower.track([(handle, job.id, answer.as_of_sequence)])

    # Calls.

    def _call(self, method: Any, request: Any, *, harmless: bool = True, until: float | None = None) -> Any:
        """Makes a call, again and again as far as that is harmless and worth it; `until`: as long as that."""
        patience = Patience(self._patience if until is None else FOREVER)
        while True:
            if self._closed.is_set():
                raise _closed()
            began = time.monotonic()
            left = TRY_SECONDS if until is None else max(0.0, min(TRY_SECONDS, until - began))
            try:
                answer = method(request, timeout=left)
            except grpc.RpcError as failed:
                error = self._failed(failed)
            else:
                self._was_reached = True
                return answer
            patience.spend(time.monotonic() - began)
            if until is not None and time.monotonic() >= until:
                raise WaitTimeout(f"the server has not answered in time: {error}") from error
            self._pause(error, patience, harmless=harmless)

    def _failed(self, error: grpc.RpcError) -> CallError:
        known = error_of(error, self.address)
        if known.reason:
            self._was_reached = True
        return known

    def _pause(self, error: CallError, patience: Patience, *, harmless: bool = True) -> None:
        """Waits until the call may be made again, or raises the error."""
        if self._closed.is_set():
            raise _closed()
        if not self._was_reached and error.code == "UNAVAILABLE":
            raise nobody_at(self.address, error) from error
        pause = patience.pause_after(error, harmless=harmless)
        if pause is None:
            raise error
        logger.info("trying again in %.2f s: %s", pause, error)
        self._closed.wait(pause)


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed")
