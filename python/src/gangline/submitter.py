"""The threads that submit a run of jobs on one stream, which they mend by themselves. [ID-1]"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc

from gangline.connection import Calls
from gangline.errors import CallError
from gangline.errors import ClientClosed
from gangline.errors import Unavailable
from gangline.faults import blames_a_job
from gangline.faults import error_of
from gangline.follower import Follower
from gangline.handle import JobHandle
from gangline.patience import Patience
from gangline.producing import Producer
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2

logger = logging.getLogger("gangline")

# How often it is looked, in the time that nothing may be accepted, whether something was.
LOOKS = 8


class Submitter:
    """Submits what is pushed, in order. A handle is accepted when it has its id, refused when it has an outcome."""

    def __init__(self, calls: Calls, address: str, follower: Follower, patience: float, *, stops: bool) -> None:
        """`stops`: a job that is refused ends the run, else the others go on."""
        self._calls = calls
        self._address = address
        self._follower = follower
        self._patience = patience
        self._stops = stops
        self._producer: Producer[JobHandle] = Producer(f"python-{uuid.uuid4().hex}")
        self._changed = threading.Condition()
        self._stream = 0
        self._call: Any = None
        self._is_stalled = False
        self._is_finished = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="gangline-submit", daemon=True)
        self._thread.start()

    def push(self, spec: job_pb2.JobSpec, handle: JobHandle) -> None:
        """Takes the next job, once there is room.

        Raises:
            CallError: the run is over.
        """
        with self._changed:
            # A done callback that pushes runs on the thread that makes room.
            while not self._producer.has_room and self._error is None and threading.current_thread() != self._thread:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            if self._producer.is_done:
                self._follower.expect()
            self._producer.push(spec, handle)
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be pushed."""
        return self._error is not None or not self._thread.is_alive()

    def finish(self) -> None:
        """Nothing more is pushed."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def wait_for(self, handle: JobHandle) -> None:
        """Waits until the handle is accepted or refused."""
        with self._changed:
            while not handle._id and handle._outcome is None:
                self._changed.wait()

    def drain(self) -> None:
        """Finishes, and waits until everything is accepted or refused."""
        self.finish()
        self._thread.join()

    def close(self, reason: Exception) -> None:
        """Gives up what is not accepted yet."""
        self._fail(reason)
        with self._changed:
            self._is_finished = True
            call = self._call
        if call is not None:
            call.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        patience = Patience(self._patience)
        while self._has_work():
            error: CallError = Unavailable("the server ended the submit stream", code="UNAVAILABLE")
            try:
                self._speak(patience)
            except grpc.RpcError as failed:
                error = error_of(failed, self._address)
            except CallError as failed:
                error = failed
            except Exception as failed:
                logger.exception("an answer cannot be read")
                error = CallError(f"an answer cannot be read: {failed!r}")
            self._hang_up()
            if not self._goes_on():
                self._mend(error, patience)

    def _has_work(self) -> bool:
        """Waits for something to submit; whether there is any before the end."""
        with self._changed:
            while self._producer.is_done and not self._is_finished and self._error is None:
                self._changed.wait()
            return not self._producer.is_done and self._error is None

    def _speak(self, patience: Patience) -> None:
        with self._changed:
            self._stream += 1
            self._is_stalled = False
            messages = self._messages(self._stream, self._producer.start())
            self._call = self._calls.jobs.StreamSubmit(messages)
        over = threading.Event()
        threading.Thread(target=self._watch, args=(self._call, over), name="gangline-submit-watch", daemon=True).start()
        try:
            for response in self._call:
                with self._changed:
                    if response.HasField("resumed"):
                        self._producer.resumed(response.resumed)
                    known = self._producer.accepted(response)
                    ended = self._follower.track(known)
                    if known and self._producer.is_done:
                        self._follower.unexpect()
                    self._changed.notify_all()
                self._follower.settle(ended)
                patience.restore()
        finally:
            over.set()

    def _watch(self, call: Any, over: threading.Event) -> None:
        """Ends a stream on which nothing moves."""
        while not over.wait(self._producer.progress_seconds / LOOKS):
            with self._changed:
                self._is_stalled = self._producer.stands_still(time.monotonic())
            if self._is_stalled:
                call.cancel()
                return

    def _messages(
        self, stream: int, start: job_service_pb2.StreamSubmitRequest
    ) -> Iterator[job_service_pb2.StreamSubmitRequest]:
        """What gRPC sends, on a thread of its own; it asks when it has sent the one before."""
        yield start
        while True:
            with self._changed:
                while self._stream == stream and not self._producer.has_batch:
                    if self._producer.is_cut or (self._is_finished and self._producer.is_done):
                        return
                    self._changed.wait()
                if self._stream != stream:
                    return
                message = self._producer.batch()
            yield message

    def _hang_up(self) -> None:
        with self._changed:
            self._stream += 1
            self._changed.notify_all()
        if self._call is not None:
            self._call.cancel()

    def _goes_on(self) -> bool:
        """Whether the next stream may follow at once: a server that answers is there, and its queue may be full for long."""
        with self._changed:
            goes_on = self._is_stalled and self._producer.is_open
            if goes_on:
                seconds = self._producer.progress_seconds
                self._producer.progress_seconds *= 2
        if goes_on:
            logger.info("nothing was accepted for %.0f s; opening the submit stream anew (a queue may be full)", seconds)
        return goes_on

    def _mend(self, error: CallError, patience: Patience) -> None:
        refused: JobHandle | None
        with self._changed:
            if self._producer.is_done or self._error is not None:
                return
            too_large = self._producer.too_large()
            may_blame = too_large is not None or (self._producer.is_waiting and blames_a_job(error))
            if too_large is not None:
                refused, error = too_large
            else:
                refused = self._producer.refused() if may_blame else None
            if refused is not None and self._producer.is_done:
                self._follower.unexpect()
        if refused is not None:
            self._follower.settle([(refused, error)])
        if may_blame and not (refused is not None and self._stops):
            with self._changed:
                self._changed.notify_all()
            return
        pause = None if may_blame else patience.pause_after(error)
        if pause is None:
            self._fail(error)
            return
        logger.info("the submit stream broke; resuming in %.2f s where it was: %s", pause, error)
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None, pause)

    def _fail(self, error: Exception) -> None:
        """The run is over; what is not known to be accepted hears why."""
        with self._changed:
            if self._error is None:
                self._error = error
            given_up = self._producer.withdraw()
            if given_up:
                self._follower.unexpect()
            self._changed.notify_all()
        self._follower.settle((handle, error) for handle in given_up)
        with self._changed:
            self._changed.notify_all()


def closed() -> ClientClosed:
    """What is said to those who wait while the client is closed."""
    return ClientClosed("the client was closed")
