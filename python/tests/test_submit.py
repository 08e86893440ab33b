"""Submitting one job and getting what became of it. Every test runs with `Client` and with `AsyncClient`."""

from __future__ import annotations

import uuid
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from pathlib import Path
from typing import Any

import pytest

from conftest import eventually
from faces import DEADLINE
from gangline import Conflict
from gangline import InvalidArgument
from gangline import JobCancelled
from gangline import JobExpired
from gangline import JobFailed
from gangline import JobState
from gangline import NotFound
from gangline import ResultForgotten
from gangline import RetryPolicy
from gangline import WaitTimeout

ONCE = RetryPolicy(max_attempts=1)


@pytest.mark.parametrize("value", [None, 7, "sled ü", [1, {"a": [None, True]}], {"": 0.5}])
def test_json_goes_in_and_json_comes_out(client: Any, value: object) -> None:
    assert client.submit("dogs", ["echo", value]).result(DEADLINE) == value


def test_a_result_is_what_its_media_type_says(client: Any) -> None:
    assert client.submit("dogs", ["bytes", "bark"]).result(DEADLINE) == b"bark"
    assert client.submit("dogs", ["text", "bark"]).result(DEADLINE) == "bark"
    lie = client.submit("dogs", ["lie"])
    with pytest.raises(ValueError, match="Expecting property name"):
        lie.result(DEADLINE)


def test_bytes_are_submitted_as_they_are(client: Any, queue: str) -> None:
    payload = bytes(range(256))
    handle = client.submit(queue, payload)
    assert client.get(handle.id, include_payload=True).payload == payload
    picture = client.submit(queue, payload, content_type="image/png")
    job = client.get(picture.id, include_payload=True)
    assert (job.message.spec.content_type, job.payload) == ("image/png", payload)


def test_every_option_reaches_the_server_and_the_worker(client: Any, queue: str) -> None:
    soon = datetime.now(timezone.utc) + timedelta(hours=1)
    handle = client.submit(
        queue,
        [1],
        priority=-7,
        run_at=soon,
        expires_at=soon + timedelta(hours=1),
        timeout=timedelta(minutes=2),
        retry=RetryPolicy(
            max_attempts=2,
            crashed_max=4,
            timed_out_max=6,
            lost_max=8,
            backoff_initial=0.25,
            backoff_factor=1.5,
            backoff_max=timedelta(seconds=10),
            backoff_jitter=0.5,
        ),
        labels={"lead": "Togo"},
        traceparent=TRACE,
        tracestate="a=b",
    )
    job = handle.job()
    spec = job.message.spec
    assert (job.queue, job.state, job.labels, spec.priority) == (queue, JobState.WAITING, {"lead": "Togo"}, -7)
    assert job.due is not None
    assert abs(job.due - soon) < timedelta(milliseconds=1)
    assert (spec.timeout.seconds, spec.expires_at.seconds - spec.run_at.seconds) == (120, 3_600)
    policy, backoff = spec.retry_policy, spec.retry_policy.backoff
    assert (policy.max_attempts, policy.crashed_max, policy.timed_out_max, policy.lost_max) == (2, 4, 6, 8)
    assert (backoff.initial.nanos, backoff.factor_percent, backoff.max.seconds) == (250_000_000, 150, 10)
    assert (backoff.jitter_percent, spec.traceparent, spec.tracestate) == (50, TRACE, "a=b")
    told = client.submit("dogs", ["job"], labels={"lead": "Balto"}, traceparent=TRACE).result(DEADLINE)
    assert told == {
        "attempt": 1,
        "queue": "dogs",
        "content_type": "application/json",
        "labels": {"lead": "Balto"},
        "traceparent": TRACE,
    }


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_failed_job_says_why(client: Any) -> None:
    handle = client.submit("dogs", ["fail", "the ice is thin"], retry=RetryPolicy(max_attempts=2, backoff_initial=0))
    with pytest.raises(JobFailed, match="failed after 2 attempts: the ice is thin") as failed:
        handle.result(DEADLINE)
    assert (failed.value.kind, failed.value.attempts, failed.value.message) == ("failed", 2, "the ice is thin")
    assert isinstance(handle.exception(), JobFailed)
    assert [failure.message for failure in handle.job().failures] == ["the ice is thin"] * 2
    for_good = client.submit("dogs", ["fail for good", "no"]).exception(DEADLINE)
    assert isinstance(for_good, JobFailed)
    assert for_good.attempts == 1


def test_a_crash_is_told_from_a_failure(client: Any) -> None:
    crashed = client.submit("dogs", ["crash"], retry=RetryPolicy(crashed_max=1)).exception(DEADLINE)
    assert isinstance(crashed, JobFailed)
    assert (crashed.kind, crashed.signal, crashed.exit_code) == ("crashed", 9, None)


def test_a_dead_job_gets_another_chance(client: Any) -> None:
    handle = client.submit("dogs", ["fail", "not yet"], retry=ONCE)
    assert handle.exception(DEADLINE) is not None
    assert client.retry([handle, str(uuid.uuid4())]) == [True, False]
    eventually(lambda: handle.job().message.generation == 1, "the second generation")


def test_a_job_that_runs_is_cancelled(client: Any, tmp_path: Path) -> None:
    handle = client.submit("dogs", ["wait", str(tmp_path / "never")])
    eventually(lambda: handle.job().state is JobState.RUNNING, "it runs")
    assert not handle.done()
    assert handle.cancel("blizzard")
    with pytest.raises(JobCancelled, match="was cancelled: blizzard") as cancelled:
        handle.result(DEADLINE)
    assert cancelled.value.reason == "blizzard"
    assert handle.cancel(), "it is cancelled, whoever did it"


def test_what_has_ended_is_not_cancelled(client: Any) -> None:
    handle = client.submit("dogs", ["echo", 1])
    assert handle.result(DEADLINE) == 1
    assert handle.done()
    assert not handle.cancel()
    assert client.cancel([handle, str(uuid.uuid4())]) == [False, False]


def test_a_job_that_comes_too_late_expires(client: Any, queue: str) -> None:
    handle = client.submit(queue, 1, expires_at=datetime.now(timezone.utc) + timedelta(milliseconds=20))
    with pytest.raises(JobExpired):
        handle.result(DEADLINE)


def test_waiting_ends_with_its_time_and_the_job_goes_on(client: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    handle = client.submit("dogs", ["wait", str(gate)])
    with pytest.raises(WaitTimeout, match=r"has not ended within 0\.05 s"):
        handle.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        handle.result(timeout=0)
    gate.touch()
    assert handle.result(DEADLINE) == "waited"


def test_progress_is_seen_while_the_job_runs(client: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    handle = client.submit("dogs", ["tell", 0.4, "over the pass", str(gate)])
    progress = eventually(lambda: handle.job().progress, "progress")
    assert (progress.done, progress.message) == (0.4, "over the pass")
    gate.touch()
    assert handle.result(DEADLINE) == "waited"


def test_a_callback_is_called_once_the_job_has_ended(client: Any, tmp_path: Path) -> None:
    gate, called = tmp_path / "gate", []
    # Nobody holds the handle but its callback.
    client.submit("dogs", ["wait", str(gate)]).add_done_callback(lambda handle: called.append(handle.id))
    attached = client.handle(client.submit("dogs", ["wait", str(gate)]).id)
    attached.add_done_callback(lambda handle: called.append(handle.id))
    assert called == []
    gate.touch()
    eventually(lambda: len(called) == 2, "the callbacks")
    attached.add_done_callback(lambda handle: called.append(handle.id))
    eventually(lambda: len(called) == 3, "the callback of a job that has ended")


def test_a_handle_that_is_made_late_finds_the_result(client: Any, tmp_path: Path) -> None:
    early = client.submit("dogs", ["echo", {"a": 1}])
    assert early.result(DEADLINE) == {"a": 1}
    late = client.handle(early.id)
    assert late.done()
    assert late.result(0) == {"a": 1}
    gate = tmp_path / "gate"
    running = client.handle(client.submit("dogs", ["wait", str(gate)]).id)
    assert not running.done()
    gate.touch()
    assert running.result(DEADLINE) == "waited"
    cancelled = client.submit("dogs", ["echo", 1], run_at=datetime.now(timezone.utc) + timedelta(hours=1))
    cancelled.cancel("late")
    with pytest.raises(JobCancelled, match="late"):
        client.handle(cancelled.id).result(DEADLINE)
    dead = client.submit("dogs", ["fail", "hm"], retry=ONCE)
    assert isinstance(dead.exception(DEADLINE), JobFailed)
    with pytest.raises(JobFailed, match="hm"):
        client.handle(dead.id).result(DEADLINE)


def test_a_result_that_was_deleted_is_forgotten(client: Any) -> None:
    handle = client.submit("dogs", ["echo", 1])
    assert handle.result(DEADLINE) == 1
    assert client.delete([handle]) == [True]
    with pytest.raises(ResultForgotten) as forgotten:
        client.handle(handle.id).result(DEADLINE)
    assert forgotten.value.job_id == handle.id
    assert handle.result() == 1, "this one has it"
    with pytest.raises(NotFound, match="JOB_NOT_FOUND"):
        handle.job()
    with pytest.raises(ResultForgotten):
        client.handle(str(uuid.uuid4())).result(DEADLINE)


def test_a_key_makes_a_repeat_harmless(client: Any) -> None:
    key = str(uuid.uuid4())
    first = client.submit("dogs", ["echo", 1], key=key)
    again = client.submit("dogs", ["echo", 1], key=key)
    assert again.id == first.id
    assert (first.result(DEADLINE), again.result(DEADLINE)) == (1, 1)
    assert client.submit("dogs", ["echo", 1], key=key).result(DEADLINE) == 1, "also when the job has ended"
    with pytest.raises(Conflict) as refused:
        client.submit("dogs", ["echo", 2], key=key)
    assert (refused.value.reason, refused.value.code, refused.value.outcome_unknown) == ("KEY_REUSED", "ALREADY_EXISTS", False)


def test_wrong_input_is_refused_with_a_reason(client: Any, queue: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.submit("no such name", 1)
    assert refused.value.reason == "INVALID_QUEUE_NAME"
    with pytest.raises(InvalidArgument) as refused:
        client.submit(queue, 1, priority=101)
    assert refused.value.reason == "INVALID_FIELD"
    assert refused.value.fields[0].startswith("jobs[0].priority: ")
    with pytest.raises(InvalidArgument) as refused:
        client.submit(queue, b"x" * ((1 << 20) + 1))
    assert refused.value.reason == "PAYLOAD_TOO_LARGE"
    with pytest.raises(InvalidArgument, match="'seven' is no job id"):
        client.handle("seven")
    with pytest.raises(InvalidArgument):
        client.cancel(["seven"])


def test_what_cannot_be_written_down_is_refused_before_anything_is_sent(client: Any, queue: str) -> None:
    for payload in (object(), {1, 2}, {"a": b"bytes"}):
        with pytest.raises(TypeError, match="not JSON serializable"):
            client.submit(queue, payload)
    with pytest.raises(ValueError, match="not JSON compliant"):
        client.submit(queue, float("inf"))
    with pytest.raises(ValueError, match="has no time zone"):
        client.submit(queue, 1, run_at=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="Value out of range"):
        client.submit(queue, 1, priority=1 << 40)
    with pytest.raises(TypeError):
        client.submit(queue, 1, labels={"a": 1})
    with pytest.raises(TypeError, match="the queue comes first, then the payload"):
        client.submit({"a": 1})


def test_many_handles_are_told_by_one_stream(client: Any) -> None:
    """In the order in which they were submitted, backwards, or only some of them."""
    handles = [client.submit("dogs", ["echo", number]) for number in range(100)]
    assert [handle.result(DEADLINE) for handle in reversed(handles)] == list(reversed(range(100)))
