"""Submits each argument as a job, waits for all of them and prints their results in the same order.

Plain stubs are enough:

    pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. proto/gangline/v1/*.proto
    PYTHONPATH=. python examples/client.py 127.0.0.1:4264 one two three

The server may be restarted at any time meanwhile: the key makes a repeated submit harmless, the cursor makes a broken tail
go on where it was.
"""

import sys
import uuid
from collections.abc import Iterator

import grpc
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2
from gangline.v1 import job_service_pb2_grpc
from gangline.v1 import update_pb2
from gangline.v1 import update_service_pb2
from gangline.v1 import update_service_pb2_grpc

FINAL = {
    update_pb2.UPDATE_KIND_SUCCEEDED,
    update_pb2.UPDATE_KIND_DEAD,
    update_pb2.UPDATE_KIND_CANCELLED,
    update_pb2.UPDATE_KIND_EXPIRED,
}


def submit(channel: grpc.Channel, payloads: list[bytes]) -> job_service_pb2.SubmitJobsResponse:
    """Submits a job a payload, as often as it takes; thanks to the key that is once."""
    jobs = [job_pb2.JobSpec(payload=payload) for payload in payloads]
    request = job_service_pb2.SubmitJobsRequest(jobs=jobs, key=str(uuid.uuid4()))
    while True:
        try:
            return job_service_pb2_grpc.JobServiceStub(channel).SubmitJobs(request, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise


def follow(channel: grpc.Channel, job_ids: list[str], sequence: int) -> Iterator[update_pb2.Update]:
    """Every update of the jobs after `sequence`, in order, each once, over all restarts."""
    cursor = update_pb2.Cursor(sequence=sequence)
    while True:
        request = update_service_pb2.GetUpdatesRequest(cursor=cursor, job_ids=job_ids, include_result=True)
        stub = update_service_pb2_grpc.UpdateServiceStub(channel)
        try:
            for response in stub.GetUpdates(request, wait_for_ready=True):
                yield from response.batch.updates
                cursor.sequence = response.cursor_sequence
                cursor.store_id = response.store_id or cursor.store_id
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise


def main() -> int:
    address, *arguments = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        submitted = submit(channel, [argument.encode() for argument in arguments])
        ended: dict[str, update_pb2.Update] = {}
        for update in follow(channel, submitted.job_ids, submitted.first_sequence - 1):
            if update.kind in FINAL:
                ended[update.job_id] = update
            if len(ended) == len(submitted.job_ids):
                break
    for job_id in submitted.job_ids:
        update = ended[job_id]
        if update.kind == update_pb2.UPDATE_KIND_SUCCEEDED:
            print(update.result.decode())
        else:
            print(f"{job_id}: {update_pb2.UpdateKind.Name(update.kind)} {update.failure.message}", file=sys.stderr)
    return 0 if all(update.kind == update_pb2.UPDATE_KIND_SUCCEEDED for update in ended.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
