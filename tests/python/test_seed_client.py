"""The client of the system that Gangline replaces, unchanged in its ways: it streams items with `doSomething` and reads
`getUpdates`, while the server is killed under it again and again. Nothing that was acknowledged may be lost."""

import asyncio
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest
from com.groundsfam.dosomething.v1 import do_something_pb2 as seed
from com.groundsfam.dosomething.v1 import do_something_pb2_grpc
from gangline.v1 import update_service_pb2
from google.protobuf import empty_pb2
from harness import DEADLINE
from harness import QUICK_RECONNECT
from harness import Background
from harness import Refusal
from harness import Server
from harness import eventually

FINAL = (seed.STATE_SUCCEEDED, seed.STATE_FAILED, seed.STATE_DROPPED)
ITEMS_A_BATCH = 20
BATCHES = 40
KILLS = 3


def cursor(name: str) -> tuple[tuple[str, str]]:
    return (("gangline-cursor", name),)


def batches() -> Iterator[list[seed.Item]]:
    for batch in range(BATCHES):
        names = [f"item-{batch}-{number}" for number in range(ITEMS_A_BATCH)]
        yield [seed.Item(name=name, payload=f"payload of {name}".encode()) for name in names]


class Reader:
    """What one reader saw, connection by connection."""

    def __init__(self) -> None:
        self.connections: list[list[seed.Update]] = []
        self.call: grpc.Call | None = None
        self.is_stopped = False

    def updates(self) -> list[seed.Update]:
        return [update for connection in list(self.connections) for update in list(connection)]

    def succeeded(self) -> set[str]:
        """Names of the items whose final update was seen."""
        names = {update.job_id: update.name for update in self.updates() if update.state == seed.STATE_SUBMITTED}
        return {names[update.job_id] for update in self.updates() if update.state == seed.STATE_SUCCEEDED}

    def read(self, server: Server, name: str) -> None:
        """Reads until it is stopped; a lost connection is made again."""
        with grpc.insecure_channel(server.address, options=QUICK_RECONNECT) as channel:
            stub = do_something_pb2_grpc.DoSomethingServiceStub(channel)
            while not self.is_stopped:
                seen: list[seed.Update] = []
                self.connections.append(seen)
                self.call = stub.getUpdates(empty_pb2.Empty(), metadata=cursor(name), wait_for_ready=True)
                try:
                    for update in self.call:
                        seen.append(update)
                except grpc.RpcError as error:
                    if not self.is_stopped and error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise

    def stop(self) -> None:
        self.is_stopped = True
        if self.call is not None:
            self.call.cancel()

    def check(self, acknowledged: Iterable[str]) -> None:
        """[LOG-1] [LOG-2] [JOB-1]: a connection goes on at or before the place where the last one broke, has no gap, tells
        the same story when it repeats, and every acknowledged item has its whole life in it."""
        log: dict[int, seed.Update] = {}
        for connection in self.connections:
            sequences = [update.sequence for update in connection]
            if sequences:
                assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), "a gap"
                assert sequences[0] <= max(log, default=0) + 1, "updates were skipped over a reconnect"
            for update in connection:
                assert log.setdefault(update.sequence, update) == update, "a repeat that differs"
        lives: dict[str, list[seed.Update]] = {}
        for _, update in sorted(log.items()):
            lives.setdefault(update.job_id, []).append(update)
        stories = {}
        for life in lives.values():
            assert life[0].state == seed.STATE_SUBMITTED
            assert [update.state in FINAL for update in life].count(True) <= 1, "more than one final update"
            stories.setdefault(life[0].name, []).append(life)
        for name in acknowledged:
            endings = [life[-1] for life in stories[name]]
            assert all(ending.state == seed.STATE_SUCCEEDED for ending in endings), endings
            assert {ending.result for ending in endings} == {f"PAYLOAD OF {name.upper()}".encode()}
            assert all(life[-2].state == seed.STATE_STARTED for life in stories[name])


def produce(server: Server, acknowledged: list[str]) -> None:
    """Sends every batch, and sends it again when it was not acknowledged."""
    with grpc.insecure_channel(server.address, options=QUICK_RECONNECT) as channel:
        stub = do_something_pb2_grpc.DoSomethingServiceStub(channel)
        for batch in batches():
            while True:
                try:
                    stub.doSomething(iter(batch), wait_for_ready=True, timeout=DEADLINE)
                    break
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise
            acknowledged += [item.name for item in batch]


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(place: Server) -> None:
    server = place.pool().start()
    readers = [Reader(), Reader()]
    reading = [Background(lambda r=r, n=n: r.read(server, f"reader-{n}")) for n, r in enumerate(readers)]
    acknowledged: list[str] = []
    producing = Background(lambda: produce(server, acknowledged))
    for kill in range(1, KILLS + 1):
        wanted = BATCHES * ITEMS_A_BATCH * kill // (KILLS + 1)
        eventually(lambda: producing.is_over or len(acknowledged) >= wanted, "the producer goes on")
        server.restart()
    producing.join()
    assert len(acknowledged) == BATCHES * ITEMS_A_BATCH
    for reader, thread in zip(readers, reading, strict=True):
        eventually(lambda: thread.is_over or set(acknowledged) <= reader.succeeded(), "every item is seen to the end")
        reader.stop()
        thread.join()
        reader.check(acknowledged)
        assert len(reader.connections) > KILLS, "the kills were to break the stream"


async def read_with_asyncio(reader: Reader, stub: do_something_pb2_grpc.DoSomethingServiceStub) -> None:
    while not reader.is_stopped:
        seen: list[seed.Update] = []
        reader.connections.append(seen)
        reader.call = stub.getUpdates(empty_pb2.Empty(), metadata=cursor("asyncio"), wait_for_ready=True)
        try:
            async for update in reader.call:
                seen.append(update)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
        except asyncio.CancelledError:
            if not reader.is_stopped:
                raise


def is_broken(error: grpc.aio.AioRpcError) -> bool:
    """Whether the connection broke. While grpc.aio writes a message it may put its own INTERNAL in the place of the
    UNAVAILABLE that the broken connection gave (https://github.com/grpc/grpc/issues/36066)."""
    overwritten = error.code() == grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"
    return overwritten or error.code() == grpc.StatusCode.UNAVAILABLE


async def produce_with_asyncio(stub: do_something_pb2_grpc.DoSomethingServiceStub, acknowledged: list[str]) -> None:
    for batch in batches():
        while True:
            try:
                await stub.doSomething(iter(batch), wait_for_ready=True, timeout=DEADLINE)
                break
            except grpc.aio.AioRpcError as error:
                if not is_broken(error):
                    raise
        acknowledged += [item.name for item in batch]


async def soon(look: Callable[[], bool], what: str) -> None:
    """As `eventually`, without holding up the loop."""
    await asyncio.to_thread(eventually, look, what)


def test_nothing_acknowledged_is_lost_with_asyncio_either(place: Server) -> None:
    server = place.pool().start()
    reader = Reader()
    acknowledged: list[str] = []

    async def run() -> None:
        async with grpc.aio.insecure_channel(server.address, options=QUICK_RECONNECT) as channel:
            stub = do_something_pb2_grpc.DoSomethingServiceStub(channel)
            reading = asyncio.create_task(read_with_asyncio(reader, stub))
            producing = asyncio.create_task(produce_with_asyncio(stub, acknowledged))
            half = BATCHES * ITEMS_A_BATCH // 2
            await soon(lambda: producing.done() or len(acknowledged) >= half, "the producer goes on")
            await asyncio.to_thread(server.restart)
            await producing
            await soon(lambda: reading.done() or set(acknowledged) <= reader.succeeded(), "every item is seen to the end")
            reader.stop()
            await reading

    asyncio.run(run())
    assert len(acknowledged) == BATCHES * ITEMS_A_BATCH
    reader.check(acknowledged)
    assert len(reader.connections) > 1


def test_a_reader_that_comes_back_goes_on_where_it_was_and_may_repeat_a_short_tail(place: Server) -> None:
    server = place.pool().start()
    stubs = server.connect()
    reader = Reader()
    for number in range(2):
        before = {f"item-{past}" for past in range(number)}
        item = seed.Item(name=f"item-{number}", payload=f"payload of item-{number}".encode())
        stubs.seed.doSomething(iter([item]), timeout=DEADLINE)
        reader.is_stopped = False
        thread = Background(lambda: reader.read(server, "comes-back"))
        eventually(lambda: thread.is_over or reader.succeeded() > before, "the item ends")
        reader.stop()
        thread.join()
    reader.check(["item-0", "item-1"])


def test_a_reader_that_comes_back_skips_nothing_and_repeats_a_short_tail_only(server: Server) -> None:
    """[LOG-2] The cursor follows about 1,000 updates and 5 s behind, and is kept over kill -9."""
    total = 4_000
    stubs = server.connect()
    stubs.seed.doSomething((seed.Item(name=str(number)) for number in range(1, total + 1)), timeout=DEADLINE)
    reader = Reader()
    thread = Background(lambda: reader.read(server, "far"))

    def kept() -> int:
        cursors = stubs.updates.ListCursors(update_service_pb2.ListCursorsRequest(), timeout=DEADLINE).cursors
        return max((kept.cursor.sequence for kept in cursors if kept.name == "far"), default=0)

    eventually(lambda: len(reader.updates()) == total, "everything is read")
    eventually(lambda: thread.is_over or kept() >= total - 1_500, "the cursor follows")
    assert kept() < total, "what is still on the way may be lost with the connection"
    server.restart()
    eventually(lambda: len(reader.connections) > 1 and reader.connections[-1], "the reader comes back")
    eventually(lambda: thread.is_over or reader.connections[-1][-1].sequence == total, "it reads to the end")
    reader.stop()
    thread.join()
    reader.check([])
    assert total - 1_500 < reader.connections[-1][0].sequence <= kept_at_most(total)
    assert [update.name for update in reader.connections[0]] == [str(number) for number in range(1, total + 1)]


def kept_at_most(total: int) -> int:
    """Where a reader may begin again at the latest: 1,000 updates may still be on their way."""
    return total - 1_000 + 1


def test_a_new_cursor_begins_at_the_first_update_that_is_kept(place: Server) -> None:
    stubs = place.start().connect()
    stubs.seed.doSomething(iter([seed.Item(name="early")]), timeout=DEADLINE)
    for name in ("first", "second"):
        call = stubs.seed.getUpdates(empty_pb2.Empty(), metadata=cursor(name), timeout=DEADLINE)
        update = next(call)
        assert (update.sequence, update.name) == (1, "early")
        call.cancel()


def test_of_two_readers_with_one_cursor_the_newer_goes_on(server: Server) -> None:
    older, newer = server.connect(), server.connect()
    first = older.seed.getUpdates(empty_pb2.Empty(), timeout=DEADLINE)
    first.initial_metadata()  # it is there: response headers come at once
    second = newer.seed.getUpdates(empty_pb2.Empty(), timeout=DEADLINE)
    with pytest.raises(grpc.RpcError) as replaced:
        next(first)
    refused = Refusal(replaced.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "READER_REPLACED"), refused.text
    newer.seed.doSomething(iter([seed.Item(name="for the newer")]), timeout=DEADLINE)
    assert next(second).name == "for the newer"
    second.cancel()


def test_nothing_is_lost_between_two_items_of_a_stream_that_breaks(server: Server) -> None:
    """The call is not acknowledged, so its items may or may not be there; those of the call before are."""
    stubs = server.connect()
    stubs.seed.doSomething(iter([seed.Item(name="safe")]), timeout=DEADLINE)

    killed = threading.Event()

    def endless() -> Iterator[seed.Item]:
        yield seed.Item(name="open")
        killed.wait(DEADLINE)

    call = Background(lambda: server.connect().seed.doSomething(endless(), timeout=2 * DEADLINE))
    eventually(lambda: len(stubs.listed()) == 2, "the first item of the stream is there")
    server.kill()
    killed.set()
    with pytest.raises(grpc.RpcError) as broken:
        call.join()
    assert broken.value.code() == grpc.StatusCode.UNAVAILABLE
    server.start()
    updates = server.connect().seed.getUpdates(empty_pb2.Empty(), timeout=DEADLINE)
    assert [next(updates).name for _ in range(2)] == ["safe", "open"]
    updates.cancel()
