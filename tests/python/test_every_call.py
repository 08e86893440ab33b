"""Every call of the public API from grpcio, each with an outcome that can be seen; a new one that is missing here fails."""

import queue

import grpc
from gangline.v1 import admin_service_pb2 as admin
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2 as jobs
from gangline.v1 import queue_service_pb2 as queues
from gangline.v1 import update_pb2
from gangline.v1 import update_service_pb2 as updates
from gangline.v1 import worker_service_pb2 as work
from google.protobuf import descriptor_pool
from harness import DEADLINE
from harness import Server
from harness import Stubs
from harness import refusal
from harness import seconds

UNKNOWN = "0198a5c2-6f00-7000-8000-000000000001"
SERVICES = ("Admin", "Job", "Queue", "Update", "Worker")


class Recorder(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Remembers which methods were called."""

    def __init__(self) -> None:
        self.called: set[str] = set()

    def _pass(self, proceed, details, request):
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        self.called.add(method.lstrip("/"))
        return proceed(details, request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _pass


def claim(stubs: Stubs, count: int, *, name: str = "unary") -> list[work.Lease]:
    request = work.ClaimJobsRequest(worker_id=name, queues=["q"], jobs_max=count, wait=seconds(10))
    return list(stubs.work.ClaimJobs(request, timeout=DEADLINE).leases)


def finish(lease: work.Lease, **outcome: object) -> work.Finish:
    return work.Finish(job_id=lease.job_id, token=lease.token, handle=lease.handle, **outcome)


def states(results: list[jobs.JobResult]) -> list[tuple[int, int]]:
    return [(result.outcome, result.state) for result in results]


def claim_extend_and_finish(stubs: Stubs) -> tuple[str, str, str]:
    """Three jobs through the unary calls of a worker: one succeeds, one dies, one is handed back."""
    ids = stubs.submit(b"a", b"b", b"c", queue="q").job_ids
    first, second, third = claim(stubs, 3)
    assert [lease.job_id for lease in (first, second, third)] == list(ids)
    held = [work.HeldLease(job_id=lease.job_id, token=lease.token) for lease in (first, third)]
    stale = work.HeldLease(job_id=first.job_id, token=first.token + 1_000)
    half = work.ProgressReport(
        job_id=first.job_id, token=first.token, progress=job_pb2.Progress(done=5_000, message="half")
    )
    request = work.ExtendLeasesRequest(worker_id="unary", held=[*held, stale], progress=[half])
    extended = stubs.work.ExtendLeases(request, timeout=DEADLINE)
    assert [(lease.job_id, lease.token) for lease in extended.held] == [(lease.job_id, lease.token) for lease in held]
    assert extended.lease_period.ToMilliseconds() > 0

    listed = stubs.admin.ListWorkers(admin.ListWorkersRequest(), timeout=DEADLINE).workers
    assert [(worker.worker_id, worker.leases) for worker in listed] == [("unary", 3)]

    failure = job_pb2.Failure(message="on thin ice")
    finishes = [
        finish(first, complete=work.Complete(result=b"A", content_type="text/plain")),
        finish(second, fail=work.Fail(failure=failure, retryable=work.RETRYABLE_NO)),
        finish(third, release=work.Release(reason="tired", delay=seconds(3_600))),
        finish(first, complete=work.Complete(result=b"again")),
    ]
    acks = stubs.work.FinishJobs(work.FinishJobsRequest(worker_id="unary", finishes=finishes), timeout=DEADLINE).acks
    assert [ack.outcome == work.FINISH_OUTCOME_ACCEPTED for ack in acks] == [True, True, True, False]
    assert stubs.finished(first.job_id).result == b"A"
    return first.job_id, second.job_id, third.job_id


def retry_cancel_and_delete(stubs: Stubs, done: str, dead: str, waiting: str) -> None:
    """What an operator does with jobs, and what is refused because of the state a job is in."""
    retried = stubs.jobs.RetryJobs(jobs.RetryJobsRequest(job_ids=[dead, done, UNKNOWN]), timeout=DEADLINE).results
    assert states(retried) == [
        (jobs.JOB_OUTCOME_DONE, job_pb2.JOB_STATE_WAITING),
        (jobs.JOB_OUTCOME_WRONG_STATE, job_pb2.JOB_STATE_SUCCEEDED),
        (jobs.JOB_OUTCOME_NOT_FOUND, job_pb2.JOB_STATE_UNSPECIFIED),
    ]
    assert stubs.jobs.GetJob(jobs.GetJobRequest(job_id=dead), timeout=DEADLINE).job.generation == 1
    request = jobs.CancelJobsRequest(job_ids=[waiting, done], reason="no snow")
    cancelled = stubs.jobs.CancelJobs(request, timeout=DEADLINE).results
    assert states(cancelled) == [
        (jobs.JOB_OUTCOME_DONE, job_pb2.JOB_STATE_CANCELLED),
        (jobs.JOB_OUTCOME_WRONG_STATE, job_pb2.JOB_STATE_SUCCEEDED),
    ]
    assert stubs.finished(waiting).cancel_reason == "no snow"
    deleted = stubs.jobs.DeleteJobs(jobs.DeleteJobsRequest(job_ids=[done, dead]), timeout=DEADLINE).results
    assert states(deleted) == [
        (jobs.JOB_OUTCOME_DONE, job_pb2.JOB_STATE_UNSPECIFIED),
        (jobs.JOB_OUTCOME_WRONG_STATE, job_pb2.JOB_STATE_WAITING),
    ]
    assert refusal(lambda: stubs.finished(done)).reason == "JOB_NOT_FOUND"


def list_in_pages(stubs: Stubs) -> None:
    """Filters and page tokens of jobs."""
    stubs.submit(*[str(number).encode() for number in range(5)], queue="pages", labels={"dog": "Togo"})
    stubs.submit(b"other", queue="pages")
    found: list[str] = []
    token, pages = "", 0
    while token or not pages:
        request = jobs.ListJobsRequest(queue="pages", labels={"dog": "Togo"}, page_size=2, page_token=token)
        page = stubs.jobs.ListJobs(request, timeout=DEADLINE)
        found += [job.id for job in page.jobs]
        token, pages = page.next_page_token, pages + 1
    assert (len(found), found, pages) == (5, sorted(found), 3)
    request = jobs.ListJobsRequest(queue="pages", states=[job_pb2.JOB_STATE_DEAD])
    assert not stubs.jobs.ListJobs(request, timeout=DEADLINE).jobs


def change_and_purge_queues(stubs: Stubs) -> None:
    """A paused queue gives nothing; waiting jobs are purged."""
    settings = queues.QueueSettings(paused=True, max_pending=7)
    changed = stubs.queues.UpdateQueue(queues.UpdateQueueRequest(name="pages", settings=settings), timeout=DEADLINE).queue
    assert (changed.settings.paused, changed.settings.max_pending, changed.ready) == (True, 7, 6)
    request = work.ClaimJobsRequest(worker_id="unary", queues=["pages"])
    assert not stubs.work.ClaimJobs(request, timeout=DEADLINE).leases
    listed = stubs.queues.ListQueues(queues.ListQueuesRequest(page_size=1), timeout=DEADLINE)
    rest = stubs.queues.ListQueues(queues.ListQueuesRequest(page_token=listed.next_page_token), timeout=DEADLINE)
    assert [entry.name for entry in [*listed.queues, *rest.queues]] == ["pages", "q"]
    request = queues.PurgeQueueRequest(name="pages", target=queues.PURGE_TARGET_WAITING)
    assert stubs.queues.PurgeQueue(request, timeout=DEADLINE).jobs == 6
    assert stubs.queues.GetQueue(queues.GetQueueRequest(name="pages"), timeout=DEADLINE).queue.ready == 0
    request = queues.PurgeQueueRequest(name="pages")
    assert refusal(lambda: stubs.queues.PurgeQueue(request, timeout=DEADLINE)).code == grpc.StatusCode.INVALID_ARGUMENT


def keep_a_place(stubs: Stubs) -> None:
    """A named cursor: committed, listed, read from, forgotten."""
    stop = updates.FOLLOW_MODE_STOP_AT_HEAD
    head = list(stubs.updates.GetUpdates(updates.GetUpdatesRequest(follow=stop), timeout=DEADLINE))[-1].head_sequence
    cursor = update_pb2.Cursor(sequence=head - 2)
    stubs.updates.CommitCursor(updates.CommitCursorRequest(name="musher", cursor=cursor), timeout=DEADLINE)
    listed = stubs.updates.ListCursors(updates.ListCursorsRequest(), timeout=DEADLINE)
    assert [(kept.name, kept.cursor.sequence) for kept in listed.cursors] == [("musher", head - 2)]
    assert listed.head_sequence == head
    request = updates.GetUpdatesRequest(named_cursor="musher", follow=stop)
    responses = list(stubs.updates.GetUpdates(request, timeout=DEADLINE))
    assert [update.sequence for response in responses for update in response.batch.updates] == [head - 1, head]
    stubs.updates.DeleteCursor(updates.DeleteCursorRequest(name="musher"), timeout=DEADLINE)
    gone = refusal(lambda: stubs.updates.DeleteCursor(updates.DeleteCursorRequest(name="musher"), timeout=DEADLINE))
    assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "CURSOR_NOT_FOUND")


def open_the_streams(stubs: Stubs) -> None:
    """One job from a producer's stream to a worker's, which hands it back by its bye."""
    start = jobs.StreamSubmitRequest(start=jobs.SubmitStart(producer_id="p"))
    batch = jobs.SubmitJobBatch(first_ordinal=1, jobs=[job_pb2.JobSpec(queue="streams", payload=b"x")])
    requests = iter([start, jobs.StreamSubmitRequest(batch=batch)])
    answers = list(stubs.jobs.StreamSubmit(requests, timeout=DEADLINE))
    (accepted,) = [accepted for answer in answers for accepted in answer.accepted]
    said: queue.SimpleQueue = queue.SimpleQueue()
    stream = stubs.work.Work(iter(said.get, None), timeout=DEADLINE)
    said.put(work.WorkRequest(hello=work.Hello(worker_id="streams", queues=["streams"]), free_slots=1))
    leases = [lease for response in (next(stream), next(stream)) for lease in response.leases]
    assert [lease.job_id for lease in leases] == [accepted.first_job_id]
    said.put(work.WorkRequest(bye=work.Bye(reason="night")))
    said.put(None)
    assert not [ack for response in stream for ack in response.acks]
    assert claim_of("streams", stubs) == accepted.first_job_id


def back_up(stubs: Stubs) -> None:
    """All files of the log in pieces; then only what is new beside what the caller has."""
    pieces = list(stubs.admin.GetBackup(admin.GetBackupRequest(), timeout=DEADLINE))
    assert [piece.WhichOneof("piece") for piece in (pieces[0], pieces[-1])] == ["begin", "end"]
    begin, files = pieces[0].begin, [piece.file for piece in pieces if piece.WhichOneof("piece") == "file"]
    assert (len(begin.store_id), begin.format, len(begin.hash)) == (32, 1, 16)
    assert begin.sequence == stubs.admin.GetServerInfo(admin.GetServerInfoRequest(), timeout=DEADLINE).head_sequence
    assert sum(len(piece.chunk) for piece in pieces) == sum(file.file.bytes for file in files) == begin.bytes > 0
    assert files[-1].file.kind == admin.BACKUP_FILE_KIND_SEGMENT
    held = admin.GetBackupRequest(held=[file.file for file in files])
    rest = list(stubs.admin.GetBackup(held, timeout=DEADLINE))
    assert sum(len(piece.chunk) for piece in rest) == rest[0].begin.bytes < begin.bytes
    wrong = admin.GetBackupRequest(held=[admin.BackupFile(kind=admin.BACKUP_FILE_KIND_SEGMENT)])
    refused = refusal(lambda: list(stubs.admin.GetBackup(wrong, timeout=DEADLINE)))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT


def claim_of(name: str, stubs: Stubs) -> str:
    request = work.ClaimJobsRequest(worker_id="unary", queues=[name], wait=seconds(10))
    (lease,) = stubs.work.ClaimJobs(request, timeout=DEADLINE).leases
    return lease.job_id


def test_every_call_from_grpcio(server: Server) -> None:
    recorder = Recorder()
    stubs = Stubs(grpc.intercept_channel(server.connect().channel, recorder))
    stubs.listed()  # from here on the server knows what it does not have
    info = stubs.admin.GetServerInfo(admin.GetServerInfoRequest(), timeout=DEADLINE)
    assert (info.durability, info.epoch, len(info.store_id)) == (admin.DURABILITY_SYNCED, 1, 32)
    done, dead, waiting = claim_extend_and_finish(stubs)
    retry_cancel_and_delete(stubs, done, dead, waiting)
    list_in_pages(stubs)
    change_and_purge_queues(stubs)
    keep_a_place(stubs)
    open_the_streams(stubs)
    back_up(stubs)

    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(f"gangline.v1.{name}Service") for name in SERVICES]
    every = {f"{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert len(every) >= 21
    assert recorder.called == every
