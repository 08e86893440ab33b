"""The seed's server.py, with what it left out filled in: the stubs, the messages, and `async for` over the request."""

import asyncio
import json
from multiprocessing import Queue

import grpc
from com.groundsfam.dosomething.v1 import do_something_pb2
from com.groundsfam.dosomething.v1 import do_something_pb2_grpc
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict


class DoSomethingServiceServicer(do_something_pb2_grpc.DoSomethingServiceServicer):
    def __init__(self, work_queue: Queue, update_queue: Queue) -> None:
        self.work_queue = work_queue
        self.update_queue = update_queue

    async def doSomething(self, request, context):
        async for item in request:
            self.work_queue.put(MessageToDict(item))
        return empty_pb2.Empty()

    async def getUpdates(self, request, context):
        while True:
            while not self.update_queue.empty():
                name, result = self.update_queue.get()
                yield do_something_pb2.Update(
                    job_id=name,
                    name=name,
                    state=do_something_pb2.STATE_SUCCEEDED,
                    result=json.dumps(result).encode(),
                )
            # add delay so we don't use the whole CPU while queue is empty
            await asyncio.sleep(0.1)


def serve(address: str, work_queue: Queue, update_queue: Queue) -> None:
    async def run_server() -> None:
        server = grpc.aio.server()
        do_something_pb2_grpc.add_DoSomethingServiceServicer_to_server(
            DoSomethingServiceServicer(work_queue, update_queue), server
        )
        server.add_insecure_port(address)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run_server())
