"""The table of what was wrong with the system that Gangline replaces: a test, or a few, for each of its rows."""

import json
import queue
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import grpc
import processes
import pytest
from com.groundsfam.dosomething.v1 import do_something_pb2 as seed
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2 as jobs
from gangline.v1 import queue_service_pb2 as queues
from gangline.v1 import update_pb2
from gangline.v1 import update_service_pb2 as updates
from gangline.v1 import worker_service_pb2 as work
from google.protobuf import duration_pb2
from google.protobuf import empty_pb2
from harness import DEADLINE
from harness import WORKER
from harness import Background
from harness import Refusal
from harness import Server
from harness import Stubs
from harness import eventually
from harness import refusal
from harness import seconds

AT_ONCE = job_pb2.RetryPolicy(backoff=job_pb2.Backoff(initial=duration_pb2.Duration()))


def tail(stubs: Stubs, **request: object):
    """Every update from the first one on, one by one."""
    request = updates.GetUpdatesRequest(include_result=True, **request)
    for response in stubs.updates.GetUpdates(request, timeout=DEADLINE):
        yield from response.batch.updates


def story(stubs: Stubs, job_id: str) -> list[update_pb2.Update]:
    """The updates of one job up to now."""
    return list(tail(stubs, job_ids=[job_id], follow=updates.FOLLOW_MODE_STOP_AT_HEAD))


def kinds(story: list[update_pb2.Update]) -> list[str]:
    return [update_pb2.UpdateKind.Name(update.kind).removeprefix("UPDATE_KIND_") for update in story]


# Row 1: items live in memory: a crash loses all of them | acknowledged means on disk.


def test_acknowledged_means_on_disk(server: Server) -> None:
    """[ACK-1] Killed at the moment of the answer, five times over."""
    acknowledged = []
    for number in range(5):
        stubs = server.connect()
        acknowledged += stubs.submit(f"{number}".encode()).job_ids
        server.restart()
    assert [job.id for job in server.connect().listed()] == acknowledged


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which shows the syncs, is not installed")
def test_acknowledged_means_synced(place: Server) -> None:
    """[ACK-1] Each item has an fdatasync of the log before its acknowledgement: seen from outside, by strace."""
    trace = place.folder / "trace"
    strace = ["strace", "-D", "-f", "-y", "-qq", "-e", "trace=fdatasync", "-o", str(trace)]
    if subprocess.run([*strace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace may not trace here")
    stubs = place.start(under=strace).connect()

    def syncs() -> int:
        return len(re.findall(r"fdatasync\(\d+<[^>]*\.seg>", trace.read_text()))

    before = syncs()
    for acknowledged in range(1, 21):
        stubs.seed.doSomething(iter([seed.Item()]), timeout=DEADLINE)
        assert syncs() - before >= acknowledged, "the answer came before the sync"


# Row 2: a worker that dies loses its item | lease, budgets, retry; a crash is seen at once.


def test_a_worker_that_dies_does_not_lose_its_item(place: Server) -> None:
    """[JOB-3] The crash is in the log with its signal, and the next attempt has the item."""
    stubs = place.pool().start().connect()
    (job_id,) = stubs.submit(b"die-once", retry_policy=AT_ONCE).job_ids
    assert stubs.finished(job_id).result == b"done by attempt 2"
    log = story(stubs, job_id)
    assert kinds(log) == ["SUBMITTED", "STARTED", "RETRYING", "STARTED", "SUCCEEDED"]
    assert log[2].failure.kind == job_pb2.FAILURE_KIND_CRASHED
    assert log[2].failure.process.signal == 9


def test_a_killed_worker_is_seen_at_once(place: Server, tmp_path: Path) -> None:
    """[LEASE-2] Killed from outside under its job: noticed far sooner than any lease would lapse."""
    stubs = place.pool().start().connect()
    begun = tmp_path / "begun"
    (job_id,) = stubs.submit(f"hang-once {begun}".encode(), retry_policy=AT_ONCE).job_ids
    eventually(lambda: begun.exists() and begun.read_text(), "the job begins")
    killed = time.monotonic()
    processes.kill(int(begun.read_text()))
    assert stubs.finished(job_id).result == b"done by attempt 2"
    assert time.monotonic() - killed < 5, "a lease that lapses takes longer"


def test_a_worker_elsewhere_that_dies_does_not_lose_its_item(server: Server) -> None:
    """The same over gRPC: a stream that breaks gives its leases up after the reconnect grace."""
    dying, living = server.connect(), server.connect()
    said: queue.SimpleQueue = queue.SimpleQueue()
    stream = dying.work.Work(iter(said.get, None), timeout=DEADLINE)
    said.put(work.WorkRequest(hello=work.Hello(worker_id="dying"), free_slots=1))
    (job_id,) = living.submit(b"item", retry_policy=AT_ONCE).job_ids
    while not next(stream).leases:
        pass
    dying.channel.close()
    claim = work.ClaimJobsRequest(worker_id="living", wait=seconds(DEADLINE))
    leases = living.work.ClaimJobs(claim, timeout=2 * DEADLINE).leases
    assert [(lease.job_id, lease.payload, lease.attempt) for lease in leases] == [(job_id, b"item", 2)]
    assert kinds(story(living, job_id)) == ["SUBMITTED", "STARTED", "RETRYING", "STARTED"]
    said.put(None)


# Row 3: an update goes to whichever reader gets it first, once | every reader sees every update, in order.


def test_every_reader_sees_every_update_in_order(place: Server) -> None:
    stubs = place.pool().start().connect()
    readers = [Background(lambda name=name: seen_by(place, name)) for name in ("one", "two", "three")]
    stubs.seed.doSomething((seed.Item(name=str(number)) for number in range(100)), timeout=DEADLINE)
    logs = [reader.join() for reader in readers]
    assert logs[0] == logs[1] == logs[2]
    # Submitted, started and succeeded; and on a busy machine what a pool was given ahead may go back to it and start again.
    assert len(logs[0]) >= 300
    whole = list(range(1, len(logs[0]) + 1))
    assert [update.sequence for update in logs[0]] == whole
    assert [update.sequence for update in tail(stubs, follow=updates.FOLLOW_MODE_STOP_AT_HEAD)] == whole


def seen_by(server: Server, name: str) -> list[seed.Update]:
    """What a reader with its own cursor sees until 100 items are done."""
    log: list[seed.Update] = []
    metadata = (("gangline-cursor", name),)
    call = server.connect().seed.getUpdates(empty_pb2.Empty(), metadata=metadata, timeout=DEADLINE)
    done = 0
    for update in call:
        log.append(update)
        done += update.state == seed.STATE_SUCCEEDED
        if done == 100:
            break
    call.cancel()
    return log


# Row 4: 0.1 s polling; idle CPU | pushed at once; idle costs nothing.


def test_updates_are_pushed_at_once(place: Server) -> None:
    """From the item sent to its final update seen, through a worker process: half of the seed's 0.1 s at most."""
    stubs = place.pool().start().connect()
    call = stubs.seed.getUpdates(empty_pb2.Empty(), timeout=2 * DEADLINE)
    took = []
    for number in range(40):
        began = time.monotonic()
        stubs.seed.doSomething(iter([seed.Item(name=str(number))]), timeout=DEADLINE)
        while next(call).state != seed.STATE_SUCCEEDED:
            pass
        took.append(time.monotonic() - began)
    call.cancel()
    print(f"item sent to final update seen: median {statistics.median(took) * 1e3:.1f} ms, worst {max(took) * 1e3:.1f} ms")
    assert statistics.median(took[5:]) < 0.050


def test_idle_costs_nothing(place: Server) -> None:
    """With a pool that waits and three readers that hang on, the seed's server would wake 60 times in these two seconds."""
    stubs = place.pool().start().connect()
    assert stubs.finished(stubs.submit(b"warm up").job_ids[0]).result == b"WARM UP"
    calls = [
        stubs.seed.getUpdates(empty_pb2.Empty(), metadata=(("gangline-cursor", name),), timeout=DEADLINE)
        for name in ("one", "two", "three")
    ]
    for call in calls:
        while next(call).state != seed.STATE_SUCCEEDED:
            pass
    eventually(lambda: is_quiet(place.pid, 0.5), "the server comes to rest")
    cpu, wakes = processes.cpu_seconds(place.pid), processes.wake_ups(place.pid)
    quiet = stubs.updates.GetUpdates(updates.GetUpdatesRequest(end=updates.LOG_END_HEAD), timeout=2)
    with pytest.raises(grpc.RpcError) as ended:
        for response in quiet:
            assert not response.batch.updates
    assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    cpu, wakes = processes.cpu_seconds(place.pid) - cpu, processes.wake_ups(place.pid) - wakes
    print(f"idle for 2 s: {cpu * 1e3:.2f} ms of CPU, {wakes} wake-ups")
    assert cpu < 0.020, "1 % of a core"
    assert wakes < 60, "it polls"
    for call in calls:
        call.cancel()


def is_quiet(pid: int, span: float) -> bool:
    """Whether the process used next to nothing in a span of time, which passes meanwhile."""
    before = processes.cpu_seconds(pid)
    time.sleep(span)
    return processes.cpu_seconds(pid) - before < span / 100


# Row 5: `put` on a full queue blocks the event loop | bounded queues with real back pressure to the caller.


def bound(stubs: Stubs, max_pending: int) -> None:
    settings = queues.QueueSettings(max_pending=max_pending)
    request = queues.UpdateQueueRequest(name="default", settings=settings)
    stubs.queues.UpdateQueue(request, timeout=DEADLINE)


def pending(stubs: Stubs) -> int:
    return stubs.queues.GetQueue(queues.GetQueueRequest(name="default"), timeout=DEADLINE).queue.ready


def drain(stubs: Stubs, until: Background) -> int:
    """Works until the call in the background is over and nothing is left; returns how many jobs there were."""
    count = 0
    while not until.is_over or pending(stubs):
        claim = work.ClaimJobsRequest(worker_id="drain", jobs_max=10, wait=seconds(0.2))
        leases = stubs.work.ClaimJobs(claim, timeout=DEADLINE).leases
        finishes = [
            work.Finish(job_id=lease.job_id, token=lease.token, handle=lease.handle, complete=work.Complete())
            for lease in leases
        ]
        if finishes:
            stubs.work.FinishJobs(work.FinishJobsRequest(worker_id="drain", finishes=finishes), timeout=DEADLINE)
        count += len(finishes)
    return count


def test_a_full_queue_holds_the_seeds_caller_back_and_nobody_else(server: Server) -> None:
    """`doSomething` waits while the queue is full, other calls are answered, and everything arrives in the end."""
    stubs = server.connect()
    bound(stubs, 20)
    items = [seed.Item(name=str(number)) for number in range(200)]
    call = Background(lambda: server.connect().seed.doSomething(iter(items), timeout=DEADLINE))
    eventually(lambda: pending(stubs) >= 20, "the queue fills")
    assert stubs.submit(b"", queue="another").job_ids, "a full queue concerns nobody else"
    assert pending(stubs) == 20
    assert not call.is_over, "200 items cannot have been taken"
    assert drain(stubs, call) == 200
    call.join()


def test_a_full_queue_holds_a_producers_stream_back(server: Server) -> None:
    """HTTP/2 flow control reaches the producer: what is not accepted stays with it."""
    stubs = server.connect()
    bound(stubs, 20)
    payload = b"x" * 60_000
    sent = 0

    def requests():
        nonlocal sent
        yield jobs.StreamSubmitRequest(start=jobs.SubmitStart(producer_id="python"))
        for ordinal in range(1, 401):
            specs = [job_pb2.JobSpec(payload=payload)]
            yield jobs.StreamSubmitRequest(batch=jobs.SubmitJobBatch(first_ordinal=ordinal, jobs=specs))
            sent = ordinal

    answers = server.connect().jobs.StreamSubmit(requests(), timeout=2 * DEADLINE)
    call = Background(lambda: sum(accepted.count for answer in answers for accepted in answer.accepted))
    eventually(lambda: pending(stubs) >= 20 and sent >= 20 and comes_to_rest(lambda: sent), "the producer is held back")
    assert pending(stubs) == 20
    assert sent < 400, "24 MB cannot all be on their way"
    assert drain(stubs, call) == 400
    assert call.join() == 400


def comes_to_rest(look) -> bool:
    """Whether a number stays the same over a moment."""
    before = look()
    time.sleep(0.2)
    return look() == before


def test_a_full_queue_refuses_a_batch_and_says_when_to_come_back(server: Server) -> None:
    stubs = server.connect()
    bound(stubs, 2)
    stubs.submit(b"1", b"2")
    refused = refusal(lambda: stubs.submit(b"3"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert refused.retry is not None and refused.retry.retry_delay.ToMilliseconds() > 0
    assert pending(stubs) == 2


# Row 6: `except: pass` | every refusal says why, with a machine-readable reason.

UNKNOWN = "0198a5c2-6f00-7000-8000-000000000001"


def other_jobs_under_a_used_key(stubs: Stubs) -> None:
    stubs.submit(b"one", key="key")
    stubs.submit(b"other", key="key")


def read(stubs: Stubs, **request: object) -> None:
    list(stubs.updates.GetUpdates(updates.GetUpdatesRequest(**request), timeout=DEADLINE))


REFUSED = {
    "INVALID_QUEUE_NAME": ("INVALID_ARGUMENT", lambda stubs: stubs.submit(b"", queue="no such name")),
    "INVALID_FIELD": ("INVALID_ARGUMENT", lambda stubs: stubs.submit(b"", priority=1_000)),
    "INVALID_JOB_ID": ("INVALID_ARGUMENT", lambda stubs: stubs.finished("seven")),
    "PAYLOAD_TOO_LARGE": ("INVALID_ARGUMENT", lambda stubs: stubs.submit(b"x" * ((1 << 20) + 1))),
    "JOB_NOT_FOUND": ("NOT_FOUND", lambda stubs: stubs.finished(UNKNOWN)),
    "QUEUE_NOT_FOUND": ("NOT_FOUND", lambda stubs: stubs.queues.GetQueue(queues.GetQueueRequest(name="none"))),
    "KEY_REUSED": ("ALREADY_EXISTS", other_jobs_under_a_used_key),
    "CURSOR_FROM_FUTURE": ("FAILED_PRECONDITION", lambda stubs: read(stubs, cursor=update_pb2.Cursor(sequence=99))),
    "CURSOR_OF_OTHER_STORE": (
        "FAILED_PRECONDITION",
        lambda stubs: read(stubs, cursor=update_pb2.Cursor(store_id="0" * 32)),
    ),
    "UNEXPECTED_MESSAGE": (
        "INVALID_ARGUMENT",
        lambda stubs: list(stubs.jobs.StreamSubmit(iter([jobs.StreamSubmitRequest()]), timeout=DEADLINE)),
    ),
}


def test_every_refusal_says_why(server: Server) -> None:
    server.connect().listed()  # from here on the server knows what it does not have
    for reason, (code, call) in REFUSED.items():
        refused = refusal(lambda: call(server.connect()))
        assert (refused.reason, refused.code.name, refused.info.domain) == (reason, code, "gangline"), refused.text
        assert refused.text, f"{reason}: nothing for people"


def test_the_seeds_calls_say_why_too(server: Server) -> None:
    stubs = server.connect()
    items = [seed.Item(name="good"), seed.Item(queue="no such name")]
    refused = refusal(lambda: stubs.seed.doSomething(iter(items), timeout=DEADLINE))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_QUEUE_NAME")
    with pytest.raises(grpc.RpcError) as bad:
        metadata = (("gangline-cursor", "x" * 129),)
        next(stubs.seed.getUpdates(empty_pb2.Empty(), metadata=metadata, timeout=DEADLINE))
    assert Refusal(bad.value).code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_workers_error_reaches_the_reader(place: Server) -> None:
    """The worker's own words, in the seed's update and in the job."""
    stubs = place.pool().start().connect()
    never = job_pb2.RetryPolicy(max_attempts=1)
    (job_id,) = stubs.submit(b"fail the ice is thin", retry_policy=never).job_ids
    job = stubs.finished(job_id)
    assert job.state == job_pb2.JOB_STATE_DEAD
    assert job.failures[0].failure.message == "ValueError: the ice is thin"
    for update in stubs.seed.getUpdates(empty_pb2.Empty(), timeout=DEADLINE):
        if update.state == seed.STATE_FAILED:
            assert "the ice is thin" in update.error
            break


# Row 7: forking after gRPC has started is unsafe | workers are exec'd; no gRPC library inside the process that computes.


def test_workers_are_execd_without_anything_of_the_server(place: Server) -> None:
    stubs = place.pool(environment={"KENNEL": "7"}).start().connect()
    (job_id,) = stubs.submit(b"describe").job_ids
    worker = json.loads(stubs.finished(job_id).result)
    assert "python" in worker["program"], "another program than the server's"
    assert "grpc" not in worker["libraries"]
    assert worker["group"] == worker["pid"], "a process group of its own"
    assert worker["threads"] == 1
    assert sorted(worker["files"]) == ["0", "1", "2"], f"something was inherited: {worker['files']}"
    assert all(target.startswith("pipe:") for target in worker["files"].values()), worker["files"]
    assert "KENNEL" in worker["environment"]
    assert "GANGLINE_SPAWNER" not in worker["environment"]
    (warden,) = processes.children(place.pid)
    assert worker["parent"] in processes.children(warden), "a spawner's child, not the server's"


def test_any_program_is_a_worker(place: Server) -> None:
    """A process a job, in each mode: sha256sum as it is."""
    stubs = place.pool(mode="each", command=["sha256sum"]).start().connect()
    (job_id,) = stubs.submit(b"abc").job_ids
    assert stubs.finished(job_id).result.startswith(b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


# Row 8: one process per core, workers die with the parent | the same, by default, and supervised.


def running(server: Server) -> set[int]:
    return processes.workers(server.pid, WORKER[1])


def test_one_process_a_core_and_each_that_dies_is_replaced(place: Server) -> None:
    place.pool().start()
    first = eventually(lambda: len(running(place)) == processes.cores() and running(place), "a process a core")
    killed = min(first)
    processes.kill(killed)
    eventually(
        lambda: len(running(place)) == processes.cores() and killed not in running(place), "the killed one is replaced"
    )


def test_workers_compute_at_the_same_time(place: Server, tmp_path: Path) -> None:
    """Each of these jobs ends only while the other one runs."""
    stubs = place.pool(processes=2).start().connect()
    folder = tmp_path / "meeting"
    folder.mkdir()
    ids = stubs.submit(*[f"meet {folder} 2".encode()] * 2).job_ids
    assert [stubs.finished(job_id).result for job_id in ids] == [b"met", b"met"]


def test_workers_die_with_the_server_even_on_kill_9(place: Server, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    stubs = place.pool().start().connect()
    stubs.submit(f"hang-once {begun}".encode())
    eventually(lambda: begun.exists() and begun.read_text(), "the job begins")
    pids = processes.descendants(place.pid)
    assert int(begun.read_text()) in pids
    place.kill()
    eventually(lambda: not [pid for pid in pids if processes.lives(pid)], "the spawner and all workers end")


def test_a_job_over_its_time_is_killed_and_its_process_replaced(place: Server, tmp_path: Path) -> None:
    stubs = place.pool(processes=1, kill_grace="100ms").start().connect()
    (job_id,) = stubs.submit(b"describe").job_ids
    pid = json.loads(stubs.finished(job_id).result)["pid"]
    policy = job_pb2.RetryPolicy(max_attempts=1)
    hang = f"hang-once {tmp_path / 'begun'}".encode()
    (job_id,) = stubs.submit(hang, timeout=seconds(0.2), retry_policy=policy).job_ids
    job = stubs.finished(job_id)
    assert (job.state, job.failures[0].failure.kind) == (job_pb2.JOB_STATE_DEAD, job_pb2.FAILURE_KIND_TIMED_OUT)
    eventually(lambda: not processes.lives(pid), "the process is gone")
    (job_id,) = stubs.submit(b"next").job_ids
    assert stubs.finished(job_id).result == b"NEXT"


def test_a_process_is_recycled_after_its_share_of_jobs(place: Server) -> None:
    stubs = place.pool(processes=1, recycle_jobs=2).start().connect()
    pids = []
    for _ in range(4):
        (job_id,) = stubs.submit(b"describe").job_ids
        pids.append(json.loads(stubs.finished(job_id).result)["pid"])
    assert pids[0] == pids[1] != pids[2] == pids[3]
