"""A client of the seed's service, the same for the seed's server and for Gangline: submits items and waits for all results.

    python client.py 127.0.0.1:4264 1 2000 4000

prints the longest chain among 2,000 numbers from each argument on. Needs the stubs of `proto/com/groundsfam`.
"""

import json
import sys
import uuid
from collections.abc import Iterator

import grpc
from com.groundsfam.dosomething.v1 import do_something_pb2 as seed
from com.groundsfam.dosomething.v1 import do_something_pb2_grpc
from google.protobuf import empty_pb2


def results(channel: grpc.Channel, payloads: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """The number of each payload and its result, as they come."""
    stub = do_something_pb2_grpc.DoSomethingServiceStub(channel)
    run = uuid.uuid4().hex
    updates = stub.getUpdates(empty_pb2.Empty(), metadata=(("gangline-cursor", run),), wait_for_ready=True)
    items = (seed.Item(name=f"{run} {number}", payload=payload) for number, payload in enumerate(payloads))
    sent = stub.doSomething.future(items, wait_for_ready=True)
    # A call that fails must not leave the reader waiting.
    sent.add_done_callback(lambda call: call.exception() and updates.cancel())
    names: dict[str, str] = {}
    left = len(payloads)
    try:
        for update in updates:
            if update.name:
                names[update.job_id] = update.name
            owner, _, number = names.get(update.job_id, "").partition(" ")
            if owner == run and update.state in (seed.STATE_FAILED, seed.STATE_DROPPED):
                raise RuntimeError(f"item {number} has no result: {update.error}")
            if owner == run and update.state == seed.STATE_SUCCEEDED:
                yield int(number), update.result
                left -= 1
                if left == 0:
                    return
    finally:
        updates.cancel()
        sent.result()


def main() -> None:
    address, *numbers = sys.argv[1:]
    payloads = [json.dumps({"first": int(number), "count": 2_000}).encode() for number in numbers]
    with grpc.insecure_channel(address) as channel:
        for number, result in results(channel, payloads):
            print(numbers[number], result.decode())


if __name__ == "__main__":
    main()
