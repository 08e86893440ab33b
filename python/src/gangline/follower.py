"""The thread that follows the update log for all handles of a client, on one stream that it mends by itself."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import grpc

from gangline.connection import Calls
from gangline.errors import CallError
from gangline.errors import CursorGone
from gangline.errors import GanglineError
from gangline.errors import Unavailable
from gangline.faults import error_of
from gangline.handle import JobHandle
from gangline.jobs import Outcome
from gangline.patience import FOREVER
from gangline.patience import Patience
from gangline.tracking import Tracker

logger = logging.getLogger("gangline")

# How long a stream stays open while nobody waits for anything.
LINGER_SECONDS = 5.0


class Follower:
    """Tells handles how their jobs ended. Its lock guards the tracker and what is shared in the handles."""

    def __init__(self, calls: Calls, address: str, look_up: Callable[[JobHandle], object]) -> None:
        self._calls = calls
        self._address = address
        self._look_up = look_up
        self._tracker: Tracker[JobHandle] = Tracker()
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._thread: threading.Thread | None = None
        self._call: Any = None
        self._idle_since: float | None = None
        # Handles with callbacks: nobody else may hold them.
        self._held: set[JobHandle] = set()
        self._closed: Exception | None = None

    def expect(self) -> None:
        """A submit begins."""
        with self.lock:
            self._tracker.expect()

    def unexpect(self) -> None:
        """It is over."""
        with self.lock:
            self._tracker.unexpect()

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """While a submit or a look-up is on its way."""
        self.expect()
        try:
            yield
        finally:
            self.unexpect()

    def track(self, known: Iterable[tuple[JobHandle, str, int]]) -> list[tuple[JobHandle, Outcome]]:
        """Jobs that are known by now: to be called while they are expected. Those that have ended are to be settled."""
        now, ended = time.monotonic(), []
        with self.lock:
            for handle, job_id, since in known:
                outcome = self._tracker.track(handle, job_id, since, now)
                if outcome is not None:
                    ended.append((handle, outcome))
                else:
                    # Whoever waited for it to be accepted asks again, so that there is a stream.
                    wake(handle)
            if self._held or self._tracker.is_active:
                self._activate()
            stale = self._call if self._tracker.is_stale else None
        if stale is not None:
            stale.cancel()
        return ended

    def settle(self, ended: Iterable[tuple[JobHandle, Outcome | Exception]]) -> None:
        """These have ended: whoever waits hears it."""
        called = []
        with self.lock:
            for handle, outcome in ended:
                if handle._outcome is None:
                    handle._outcome = outcome
                    handle.is_tracked = False
                    wake(handle)
                    if handle._callbacks:
                        called.append(handle)
            self._held.difference_update(called)
        for handle in called:
            for callback in handle._callbacks or ():
                try:
                    callback(handle)
                except Exception:
                    logger.exception("a done callback of %r failed", handle)

    def want(self, handle: JobHandle) -> threading.Event | None:
        """Someone waits for the handle: the event that comes when there is something new; `None`: look at it, or it up."""
        with self.lock:
            if self._closed is not None:
                raise self._closed
            if handle.is_tracked:
                self._activate()
            if handle._outcome is not None or (handle._id and not handle.is_tracked):
                return None
            if handle._waiter is None:
                handle._waiter = threading.Event()
            return handle._waiter

    def hold(self, handle: JobHandle, callback: Callable[[JobHandle], object]) -> bool:
        """Keeps the callback for when the job ends; `False` if it has."""
        with self.lock:
            if handle._outcome is not None:
                return False
            handle._callbacks = [*(handle._callbacks or ()), callback]
            self._held.add(handle)
            if handle.is_tracked:
                self._activate()
            return True

    def close(self, reason: Exception) -> None:
        """Ends the thread; whoever waits hears the reason."""
        with self.lock:
            self._closed = reason
            call, thread = self._call, self._thread
            waiting = {*self._tracker.waiting(), *self._held}
            self._changed.notify_all()
        if call is not None:
            call.cancel()
        self.settle((handle, reason) for handle in waiting)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _activate(self) -> None:
        self._tracker.activate(time.monotonic())
        if self._tracker.is_active:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gangline-updates", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        patience = Patience(FOREVER)
        while True:
            call = self._open()
            if call is None:
                return
            error: CallError | None = Unavailable("the server ended the stream of updates", code="UNAVAILABLE")
            try:
                if self._read(call, patience):
                    error = None
            except grpc.RpcError as failed:
                error = error_of(failed, self._address)
            except Exception as failed:
                logger.exception("an update cannot be read")
                error = CallError(f"an update cannot be read: {failed!r}")
            call.cancel()
            if error is not None:
                self._mend(error, patience)

    def _open(self) -> Any:
        with self.lock:
            while not self._tracker.is_active and self._closed is None:
                self._changed.wait()
            if self._closed is not None:
                return None
            self._idle_since = None
            self._call = self._calls.updates.GetUpdates(self._tracker.request())
            return self._call

    def _read(self, call: Any, patience: Patience) -> bool:
        """Reads the stream; whether it is over because another one is to be opened, or none."""
        for response in call:
            with self.lock:
                if self._tracker.is_stale or self._closed is not None:
                    return True
                ended = self._tracker.feed(response)
                over = self._is_over()
            self.settle(ended)
            patience.restore()
            if over:
                return True
        return False

    def _is_over(self) -> bool:
        """Whether nobody has waited for anything for a while."""
        now = time.monotonic()
        if not self._tracker.is_idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > LINGER_SECONDS:
            self._tracker.rest()
            return True
        return False

    def _mend(self, error: CallError, patience: Patience) -> None:
        with self.lock:
            if self._tracker.is_stale or self._closed is not None:
                return
        if isinstance(error, CursorGone):
            logger.warning("the updates cannot be followed from where they were; looking the jobs up: %s", error)
            self._look_all_up()
            return
        pause = patience.pause_after(error)
        if pause is None:
            logger.error("the updates cannot be followed: %s", error)
            with self.lock:
                waiting = self._tracker.start_over()
            self.settle((handle, error) for handle in waiting)
            return
        logger.info("the stream of updates broke; resuming in %.2f s where it was: %s", pause, error)
        with self.lock:
            if self._closed is None:
                self._changed.wait(pause)

    def _look_all_up(self) -> None:
        """Whoever waits looks up by itself; for callbacks it is done here."""
        with self.lock:
            for handle in self._tracker.start_over():
                wake(handle)
            held = [handle for handle in self._held if handle._id]
        for handle in held:
            try:
                self._look_up(handle)
            except GanglineError as error:
                self.settle([(handle, error)])


def wake(handle: JobHandle) -> None:
    """Whoever waits for the handle looks again; to be called with the lock."""
    if handle._waiter is not None:
        handle._waiter.set()
        handle._waiter = None
