"""What the one stream of a client tells its handles, decided without a server: every order of submits, answers and updates."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gangline import tracking
from gangline.jobs import JobState
from gangline.jobs import Outcome
from gangline.tracking import Tracked
from gangline.tracking import Tracker
from gangline.v1 import update_pb2
from gangline.v1 import update_service_pb2


class Log:
    """An update log of terminal updates, and a stream that reads it as a server would."""

    def __init__(self) -> None:
        self.updates: list[update_pb2.Update] = []
        self.sequence = 0

    def submit(self) -> int:
        self.sequence += 1
        return self.sequence

    def end(self, job_id: str, queue: str, result: bytes = b"") -> None:
        self.sequence += 1
        kind = update_pb2.UPDATE_KIND_SUCCEEDED
        update = update_pb2.Update(sequence=self.sequence, kind=kind, job_id=job_id, queue=queue, result=result)
        self.updates.append(update)

    def read(
        self, request: update_service_pb2.GetUpdatesRequest, after: int, most: int
    ) -> update_service_pb2.GetUpdatesResponse:
        queues = set(request.queues)
        passing = [u for u in self.updates if u.sequence > after and (not queues or u.queue in queues)][:most]
        cursor = passing[-1].sequence if len(passing) == most else self.sequence
        return update_service_pb2.GetUpdatesResponse(
            batch=update_pb2.UpdateBatch(updates=passing), cursor_sequence=cursor, head_sequence=self.sequence
        )


def begin(tracker: Tracker[Tracked], queue: str, job_id: str, log: Log) -> Tracked:
    handle = Tracked(queue)
    tracker.expect()
    assert tracker.track(handle, job_id, log.submit() - 1, now=0) is None
    tracker.unexpect()
    return handle


def test_a_stream_begins_before_the_oldest_job_and_looks_at_its_queues() -> None:
    tracker: Tracker[Tracked] = Tracker()
    log = Log()
    log.sequence = 100
    handles = [begin(tracker, queue, job_id, log) for queue, job_id in (("b", "1"), ("a", "2"))]
    assert not tracker.is_active, "nobody has asked yet"
    tracker.activate(now=1)
    request = tracker.request()
    assert (list(request.queues), request.cursor.sequence, request.include_result) == (["a", "b"], 100, True)
    assert all(handle.is_tracked for handle in handles)


def test_a_handle_that_nobody_holds_is_not_waited_for() -> None:
    tracker: Tracker[Tracked] = Tracker()
    handle = begin(tracker, "a", "1", Log())
    assert not tracker.is_idle
    del handle
    assert tracker.is_idle
    tracker.activate(now=1)
    assert not tracker.is_active


def test_an_old_handle_is_looked_up() -> None:
    """Reading hours of log again would take longer than to ask."""
    tracker: Tracker[Tracked] = Tracker()
    old = begin(tracker, "a", "1", Log())
    tracker.activate(now=tracking.FRESH_SECONDS + 1)
    assert not old.is_tracked
    assert not tracker.is_active


def test_another_queue_makes_the_stream_stale_and_its_begin_is_not_missed() -> None:
    tracker: Tracker[Tracked] = Tracker()
    log = Log()
    first = begin(tracker, "a", "1", log)
    tracker.activate(now=0)
    tracker.feed(log.read(tracker.request(), 0, 10))
    since = log.submit() - 1
    tracker.expect()
    log.end("2", "b")
    log.end("1", "a")
    ((ended, _),) = tracker.feed(log.read(update_service_pb2.GetUpdatesRequest(queues=["a"]), 1, 10))
    assert ended is first
    second = Tracked("b")
    assert tracker.track(second, "2", since, now=0) is None
    tracker.unexpect()
    assert tracker.is_stale
    request = tracker.request()
    ((ended, _),) = tracker.feed(log.read(request, request.cursor.sequence, 10))
    assert ended is second


def test_a_job_that_ends_before_its_submitter_knows_its_id() -> None:
    tracker: Tracker[Tracked] = Tracker()
    log = Log()
    other = begin(tracker, "a", "1", log)
    tracker.activate(now=0)
    request = tracker.request()
    tracker.expect()
    since = log.submit() - 1
    log.end("2", "a", b"early")
    assert tracker.feed(log.read(request, 0, 10)) == []
    outcome = tracker.track(Tracked("a"), "2", since, now=0)
    assert outcome is not None
    assert (outcome.state, outcome.data) == (JobState.SUCCEEDED, b"early")
    assert other.is_tracked


def test_updates_of_others_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is looked up."""
    monkeypatch.setattr(tracking, "STRAYS_MAX", 10)
    tracker: Tracker[Tracked] = Tracker()
    log = Log()
    other = begin(tracker, "a", "1", log)
    tracker.activate(now=0)
    request = tracker.request()
    tracker.expect()
    since = log.submit() - 1
    log.end("2", "a")
    for number in range(25):
        log.end(f"other {number}", "a")
    tracker.feed(log.read(request, 0, 100))
    assert len(tracker._strays) <= 10
    handle = Tracked("a")
    assert tracker.track(handle, "2", since, now=0) is None
    assert not handle.is_tracked, "to be looked up"
    assert other.is_tracked


@pytest.mark.parametrize("seed", range(300))
def test_every_handle_hears_of_its_job_or_knows_that_it_has_to_ask(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of some clients are submitted and end; answers and the stream come late, in parts, and break."""
    chance = random.Random(seed)
    monkeypatch.setattr(tracking, "STRAYS_MAX", chance.choice([3, 1_000]))
    tracker: Tracker[Tracked] = Tracker()
    log = Log()
    queues = ["a", "b", "c"][: chance.randint(1, 3)]
    live: list[tuple[str, str]] = []
    answers: list[tuple[Tracked, str, int]] = []
    handles: list[Tracked] = []
    heard: dict[Tracked, Outcome] = {}
    stream: dict[str, Any] = {}

    def step() -> None:
        kind = chance.random()
        if kind < 0.25:
            queue = chance.choice(queues)
            job_id = str(log.submit())
            live.append((job_id, queue))
            if chance.random() < 0.6:
                tracker.expect()
                answers.append((Tracked(queue), job_id, log.sequence - 1))
        elif kind < 0.5 and live:
            log.end(*live.pop(chance.randrange(len(live))))
        elif kind < 0.7 and answers:
            answer(chance.randrange(len(answers)))
        elif kind < 0.75:
            tracker.activate(now=0)
        elif kind < 0.8:
            stream.clear()
        elif kind < 0.85 and tracker.is_idle:
            tracker.rest()
            stream.clear()
        else:
            read()

    def answer(place: int) -> None:
        handle, job_id, since = answers.pop(place)
        handles.append(handle)
        outcome = tracker.track(handle, job_id, since, now=0)
        if outcome is not None:
            heard[handle] = outcome
        tracker.unexpect()

    def read() -> None:
        if not tracker.is_active:
            return
        if not stream or tracker.is_stale:
            request = tracker.request()
            stream.update(request=request, after=request.cursor.sequence)
        response = log.read(stream["request"], stream["after"], chance.randint(1, 4))
        stream["after"] = response.cursor_sequence
        heard.update(tracker.feed(response))

    for _ in range(chance.randint(10, 150)):
        step()
    while answers:
        answer(0)
    for job in live:
        log.end(*job)
    tracker.activate(now=0)
    for _ in range(2 * log.sequence + 2):
        read()
    for handle in handles:
        if handle in heard:
            assert heard[handle].job_id == handle._id
        else:
            assert not handle.is_tracked, f"job {handle._id} of queue {handle.queue} is missed"
