"""The main API from grpcio, whose core is the one of most languages: calls, streams, health, reflection, error details."""

import asyncio
import queue

import grpc
import grpc.aio
import pytest
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2 as jobs
from gangline.v1 import job_service_pb2_grpc
from gangline.v1 import update_pb2
from gangline.v1 import update_service_pb2 as updates
from gangline.v1 import worker_service_pb2 as work
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from harness import DEADLINE
from harness import Background
from harness import Server
from harness import refusal
from harness import seconds

SERVICES = {
    "com.groundsfam.dosomething.v1.DoSomethingService",
    "gangline.v1.AdminService",
    "gangline.v1.JobService",
    "gangline.v1.QueueService",
    "gangline.v1.UpdateService",
    "gangline.v1.WorkerService",
    "grpc.health.v1.Health",
}


def test_submit_wait_and_read_the_result(place: Server) -> None:
    stubs = place.pool().start().connect()
    submitted = stubs.submit(b"mush", content_type="text/plain", labels={"dog": "Togo"})
    job = stubs.finished(submitted.job_ids[0])
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert (job.result, job.result_content_type) == (b"MUSH", "text/plain; charset=utf-8")
    assert (job.attempts, job.submitted_sequence, dict(job.spec.labels)) == (1, submitted.first_sequence, {"dog": "Togo"})


def test_a_repeat_with_the_same_key_answers_the_same_after_a_restart(server: Server) -> None:
    first = server.connect().submit(b"once", key="k")
    second = server.restart().connect().submit(b"once", key="k")
    assert (list(second.job_ids), first.repeat, second.repeat) == (list(first.job_ids), False, True)


def test_a_worker_and_a_reader_on_streams(server: Server) -> None:
    stubs = server.connect()
    said: queue.SimpleQueue = queue.SimpleQueue()
    stream = stubs.work.Work(iter(said.get, None), timeout=DEADLINE)
    said.put(work.WorkRequest(hello=work.Hello(worker_id="python", queues=["q"]), free_slots=2))
    welcome = next(stream).welcome
    assert welcome.lease_period.ToMilliseconds() > 0
    ids = list(stubs.submit(b"a", b"b", queue="q").job_ids)
    leases: list[work.Lease] = []
    while len(leases) < 2:
        leases += next(stream).leases
    assert [(lease.job_id, lease.payload, lease.attempt) for lease in leases] == [(ids[0], b"a", 1), (ids[1], b"b", 1)]
    outcomes = [{"complete": work.Complete(result=b"A")},
                {"fail": work.Fail(failure=job_pb2.Failure(message="broken"), retryable=work.RETRYABLE_NO)}]
    for lease, outcome in zip(leases, outcomes, strict=True):
        finish = work.Finish(job_id=lease.job_id, token=lease.token, handle=lease.handle, **outcome)
        said.put(work.WorkRequest(finishes=[finish]))
    acks: list[work.FinishAck] = []
    while len(acks) < 2:
        acks += next(stream).acks
    assert [ack.outcome for ack in acks] == [work.FINISH_OUTCOME_ACCEPTED] * 2
    said.put(work.WorkRequest(finishes=[work.Finish(job_id=ids[0], token=leases[0].token, **outcomes[0])]))
    assert next(stream).acks[0].outcome != work.FINISH_OUTCOME_ACCEPTED, "a lease is finished once [LEASE-1]"
    said.put(work.WorkRequest(bye=work.Bye(reason="done")))
    said.put(None)
    assert list(stream) == []

    request = updates.GetUpdatesRequest(follow=updates.FOLLOW_MODE_STOP_AT_HEAD, include_payload=True, include_result=True)
    responses = list(stubs.updates.GetUpdates(request, timeout=DEADLINE))
    log = [update for response in responses for update in response.batch.updates]
    assert [update.sequence for update in log] == [1, 2, 3, 4, 5, 6]
    kinds = ["SUBMITTED", "SUBMITTED", "STARTED", "STARTED", "SUCCEEDED", "DEAD"]
    assert [update_pb2.UpdateKind.Name(update.kind) for update in log] == [f"UPDATE_KIND_{kind}" for kind in kinds]
    assert (log[0].spec.payload, log[2].sequence, log[4].result) == (b"a", leases[0].token, b"A")
    assert log[5].failure.message == "broken"
    assert responses[0].store_id == welcome.store_id
    assert responses[-1].cursor_sequence == responses[-1].head_sequence == 6


def test_a_tail_resumes_after_its_cursor_across_a_restart(server: Server) -> None:
    stubs = server.connect()
    stubs.submit(b"a", b"b", b"c")
    stop = updates.FOLLOW_MODE_STOP_AT_HEAD
    first = next(stubs.updates.GetUpdates(updates.GetUpdatesRequest(follow=stop), timeout=DEADLINE))
    cursor = update_pb2.Cursor(store_id=first.store_id, sequence=2)
    stubs = server.restart().connect()
    responses = list(stubs.updates.GetUpdates(updates.GetUpdatesRequest(cursor=cursor, follow=stop), timeout=DEADLINE))
    assert [update.sequence for response in responses for update in response.batch.updates] == [3]


def test_a_producer_resumes_its_stream_after_the_server_was_killed(server: Server) -> None:
    def batch(first: int, count: int) -> jobs.StreamSubmitRequest:
        specs = [job_pb2.JobSpec(payload=str(first + number).encode()) for number in range(count)]
        return jobs.StreamSubmitRequest(batch=jobs.SubmitJobBatch(first_ordinal=first, jobs=specs))

    start = jobs.StreamSubmitRequest(start=jobs.SubmitStart(producer_id="python"))
    said: queue.SimpleQueue = queue.SimpleQueue()
    stream = server.connect().jobs.StreamSubmit(iter(said.get, None), timeout=DEADLINE)
    said.put(start)
    assert next(stream).resumed.last_ordinal == 0
    said.put(batch(1, 10))
    accepted = next(stream).accepted[0]
    assert (accepted.first_ordinal, accepted.count, accepted.first_sequence) == (1, 10, 1)
    server.restart()
    with pytest.raises(grpc.RpcError):
        next(stream)
    said.put(None)
    stubs = server.connect()
    answers = list(stubs.jobs.StreamSubmit(iter([start, batch(8, 5)]), timeout=DEADLINE))
    assert answers[0].resumed.last_ordinal == 10
    assert [(range_.first_ordinal, range_.count) for answer in answers for range_ in answer.accepted][-1] in ((11, 2), (8, 5))
    assert len(stubs.listed()) == 12


def test_asyncio_submits_and_follows(place: Server) -> None:
    server = place.pool().start()

    async def run() -> bytes:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = job_service_pb2_grpc.JobServiceStub(channel)
            request = jobs.SubmitJobsRequest(jobs=[job_pb2.JobSpec(payload=b"hike")])
            submitted = await stub.SubmitJobs(request, timeout=DEADLINE)
            wait = jobs.GetJobRequest(job_id=submitted.job_ids[0], wait=seconds(DEADLINE), include_result=True)
            return (await stub.GetJob(wait, timeout=DEADLINE)).job.result

    assert asyncio.run(run()) == b"HIKE"


def test_a_quiet_stream_has_its_headers_at_once(server: Server) -> None:
    stubs = server.connect()
    for call in (
        stubs.updates.GetUpdates(updates.GetUpdatesRequest(end=updates.LOG_END_HEAD), timeout=DEADLINE),
        stubs.work.Work(iter(queue.SimpleQueue().get, None), timeout=DEADLINE),
    ):
        assert call.initial_metadata() is not None
        assert call.is_active()
        call.cancel()


def test_a_message_of_almost_4_mib_is_taken_and_one_over_it_refused(server: Server) -> None:
    stubs = server.connect()
    mebibyte = b"x" * (1 << 20)
    assert len(stubs.submit(mebibyte, mebibyte, mebibyte).job_ids) == 3
    with pytest.raises(grpc.RpcError) as refused:
        stubs.submit(*[mebibyte] * 5)
    assert refused.value.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_health_knows_the_server_and_its_services_and_tells_of_the_end(server: Server) -> None:
    health = health_pb2_grpc.HealthStub(server.connect().channel)
    for service in ("", "gangline.v1.JobService", "com.groundsfam.dosomething.v1.DoSomethingService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    told = Background(lambda: next(watch).status)
    assert server.stop() == 0
    assert told.join() == health_pb2.HealthCheckResponse.NOT_SERVING
    assert "tasks did not end in time" not in server.log(), "a watcher does not hold the stop up"


def test_a_stop_ends_a_readers_stream_with_unavailable(server: Server) -> None:
    tail = server.connect().updates.GetUpdates(updates.GetUpdatesRequest(), timeout=DEADLINE)
    next(tail)
    assert server.stop() == 0
    with pytest.raises(grpc.RpcError) as ended:
        list(tail)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


def test_reflection_lists_every_service_and_describes_it(server: Server) -> None:
    reflected = ProtoReflectionDescriptorDatabase(server.connect().channel)
    assert set(reflected.get_services()) >= SERVICES
    described = reflected.FindFileContainingSymbol("com.groundsfam.dosomething.v1.DoSomethingService")
    assert [method.name for method in described.service[0].method] == ["doSomething", "getUpdates"]


def test_error_details_are_read_with_grpcio_status(server: Server) -> None:
    stubs = server.connect()
    refused = refusal(lambda: stubs.submit(b"", queue="no such name"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_QUEUE_NAME")
    assert (refused.info.domain, refused.fields) == ("gangline", ["jobs[0].queue"])


def test_a_call_after_its_deadline_says_so_whoever_notices_first(server: Server) -> None:
    """The client's clock and the server's run out at the same time."""
    stubs = server.connect()
    request = work.ClaimJobsRequest(worker_id="python", wait=seconds(30))
    for _ in range(8):
        with pytest.raises(grpc.RpcError) as over:
            stubs.work.ClaimJobs(request, timeout=0.1)
        assert over.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
