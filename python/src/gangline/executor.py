"""`GanglineExecutor`: tasks through the interface of `concurrent.futures`."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures import Future
from typing import Any

from gangline import payload as payloads
from gangline.client import Client
from gangline.errors import ClientClosed
from gangline.errors import JobCancelled
from gangline.handle import JobHandle
from gangline.jobs import JobSpec
from gangline.submitter import Submitter
from gangline.tasks import Task
from gangline.tasks import name_of
from gangline.tasks import registered


class GanglineExecutor(Executor):
    """Runs tasks on the workers of a Gangline server; jobs and results outlive both this process and the server.

    A callable becomes a job by its name: it has to be a `@gangline.task` of a module that the workers import too. Its
    arguments travel as JSON, and so does the result; nothing is pickled. `submit` returns at once while fewer than some
    thousands of jobs wait to be accepted. A future that fails raises what `JobHandle.result` raises.
    """

    def __init__(self, client: Client | str | None = None, **options: Any) -> None:
        """`client`: a client, which stays open, or the address for one of its own. `options` are those of `JobSpec`."""
        self._client = client if isinstance(client, Client) else Client(client)
        self._owns_client = not isinstance(client, Client)
        self._model = JobSpec("default", **options).message()
        self._lock = threading.Lock()
        self._submitter: Submitter | None = None
        self._pending: set[JobFuture] = set()
        self._is_shut_down = False
        self._may_close = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submits a call of the task `fn`. Cancelling the future cancels the job, also when it runs.

        Raises:
            TypeError: it is no task, cannot be called like this, or an argument is nothing that JSON has.
            RuntimeError: after `shutdown`.
        """
        task = task_of(fn)
        misfit = task.misfit(*args, **kwargs)
        if misfit is not None:
            raise TypeError(misfit)
        spec = type(self._model)()
        spec.CopyFrom(self._model)
        spec.queue = task.queue
        spec.payload, spec.content_type = payloads.encode_call(task.name, args, kwargs)
        handle = JobHandle(self._client, task.queue)
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._submitter is None or self._submitter.is_over:
                self._submitter = self._client._submitter(stops=False)
            submitter = self._submitter
            future = JobFuture(handle, submitter)
            self._pending.add(future)
        future.add_done_callback(self._settled)
        handle.add_done_callback(future._settle)
        try:
            submitter.push(spec, handle)
        except BaseException:
            self._settled(future)
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accepts no more calls. `wait`: returns when all have ended. `cancel_futures`: cancels those that have not."""
        with self._lock:
            self._is_shut_down = True
            pending = list(self._pending)
            if self._submitter is not None:
                self._submitter.finish()
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            concurrent.futures.wait(pending)
            if self._owns_client:
                self._client.close()
            return
        with self._lock:
            self._may_close = True
        self._close_if_done()

    def _settled(self, future: Future[Any]) -> None:
        with self._lock:
            self._pending.discard(future)  # type: ignore[arg-type]
        self._close_if_done()

    def _close_if_done(self) -> None:
        with self._lock:
            close = self._owns_client and self._may_close and not self._pending
        if close:
            # Not here: this may be a thread of the client.
            threading.Thread(target=self._client.close, name="gangline-close").start()


class JobFuture(Future[Any]):
    """The result of a job. `handle` is its handle."""

    def __init__(self, handle: JobHandle, submitter: Submitter) -> None:
        super().__init__()
        self.handle = handle
        """The job, once it is accepted."""
        self._submitter = submitter

    def cancel(self) -> bool:
        """Cancels the job, waiting or running; whether it is cancelled now. Makes a call to the server."""
        if self.done():
            return self.cancelled()
        self._submitter.wait_for(self.handle)
        try:
            if not self.handle.id or not self.handle.cancel("its future was cancelled"):
                return False
        except ClientClosed:
            return self.cancelled()
        super().cancel()
        return True

    def _settle(self, handle: JobHandle) -> None:
        result, error = None, None
        try:
            result = handle.result()
        except JobCancelled:
            super().cancel()
        except Exception as failed:  # noqa: BLE001  it is the future's
            error = failed
        # Tells those who wait for a cancelled future, whoever cancelled it.
        if self.set_running_or_notify_cancel():
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(result)


def task_of(function: Callable[..., Any]) -> Task:
    """The task that the function is.

    Raises:
        TypeError: it is none, or one that workers cannot find.
    """
    for task in registered.values():
        if task.function is function:
            if function.__module__ == "__main__":
                raise TypeError(f"{task.name} is in the program itself: put it into a module that workers can import")
            return task
    raise TypeError(f"{name_of(function)} is no task: decorate it with @gangline.task(queue=...)")
