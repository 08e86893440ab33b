"""The server is killed under the client: nothing is lost, nothing comes twice. With `Client` and with `AsyncClient`."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import DOG
from conftest import Connect
from conftest import eventually
from faces import DEADLINE
from gangline import ClientClosed
from gangline import Cursor
from gangline import CursorGone
from gangline import JobCancelled
from gangline import ResultForgotten
from gangline import Unavailable
from gangline import UpdateKind
from gangline.testing import Server

MANY = 12_000


def test_a_run_goes_on_where_it_was(place: Server, connect: Connect) -> None:
    """Killed twice, once while thousands of answers are on their way: each job once, each handle with its own id."""
    client = connect(place.start())

    def numbers() -> Iterator[int]:
        for number in range(MANY):
            if number in (3_000, 9_000):
                place.restart()
            yield number

    handles = list(client.submit_many(numbers(), queue="sleighs"))
    kinds = [UpdateKind.SUBMITTED]
    updates = list(client.updates(queue="sleighs", kinds=kinds, include_payload=True, follow=False))
    assert [update.payload for update in updates] == list(range(MANY))
    assert [update.job_id for update in updates] == [handle.id for handle in handles]


def test_results_come_over_a_restart(place: Server, connect: Connect, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    client = connect(place.pool(DOG, queues=["waiters"]).start())
    handles = list(client.submit_many((["echo", number] for number in range(2_000)), queue="dogs"))
    last = client.submit("waiters", ["wait", str(gate)])
    called: list[str] = []
    last.add_done_callback(lambda handle: called.append(handle.id))
    for number, handle in enumerate(handles):
        if number == 500:
            place.restart()
        assert handle.result(DEADLINE) == number
    place.restart()
    gate.touch()
    assert last.result(DEADLINE) == "waited"
    eventually(lambda: called == [last.id], "the callback")


def test_map_goes_on_over_a_restart(place: Server, connect: Connect) -> None:
    client = connect(place.start())
    for number, result in enumerate(client.map("dogs", (["echo", number] for number in range(3_000)))):
        assert result == number
        if number in (700, 1_400):
            place.restart()


def test_updates_go_on_where_they_were(place: Server, connect: Connect) -> None:
    """Each once and in order, while jobs are submitted and the server is killed, and stopped, in between."""
    client, writer = connect(place.start()), connect(place)
    list(writer.submit_many(range(5_000), queue="sleighs"))
    seen = []
    for update in client.updates():
        seen.append(update)
        if update.sequence == 2_000:
            place.restart()
            list(writer.submit_many(range(1_000), queue="sleighs"))
        if update.sequence == 5_500:
            assert place.stop() == 0
            place.start()
        if len(seen) == 6_000:
            break
    assert [update.sequence for update in seen] == list(range(1, 6_001))
    cursor = Cursor.parse(str(seen[3_999].cursor))
    rest = list(client.updates(after=cursor, follow=False))
    assert [update.sequence for update in rest] == list(range(4_001, 6_001))


def test_a_submit_waits_for_the_server(place: Server, connect: Connect) -> None:
    client = connect(place.start())
    first = client.submit("dogs", ["echo", 1])
    place.kill()
    back = threading.Timer(0.3, place.start)
    back.start()
    second = client.submit("dogs", ["echo", 2])
    assert (first.result(DEADLINE), second.result(DEADLINE)) == (1, 2)
    back.join()


def test_patience_ends(place: Server, connect: Connect) -> None:
    client = connect(place.start(), patience=0.5)
    handle = client.submit("sleighs", 1)
    place.kill()
    with pytest.raises(Unavailable):
        client.submit("sleighs", 2)
    with pytest.raises(Unavailable):
        list(client.submit_many([3], queue="sleighs"))
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.2)
    place.start()
    assert client.submit("sleighs", 4).cancel(), "the client is as good as new"
    assert handle.cancel()
    with pytest.raises(JobCancelled):
        handle.result(DEADLINE)


def test_a_server_with_another_history_has_forgotten(place: Server, connect: Connect) -> None:
    """Someone put an empty directory in the place of the data: who waits is told, and does not wait for ever."""
    client = connect(place.start())
    handles = [client.submit("sleighs", number) for number in range(3)]
    called: list[str] = []
    handles[2].add_done_callback(lambda handle: called.append(handle.id))
    with pytest.raises(TimeoutError):
        handles[0].result(timeout=0.1)
    (first,) = (update for update in client.updates(follow=False, after=2))
    place.kill()
    shutil.rmtree(place.data)
    place.start()
    for handle in handles:
        with pytest.raises(ResultForgotten):
            handle.result(DEADLINE)
    assert called == [handles[2].id]
    with pytest.raises(CursorGone) as gone:
        list(client.updates(after=first.cursor))
    assert gone.value.reason == "CURSOR_OF_OTHER_STORE"
    with pytest.raises(CursorGone) as gone:
        list(client.updates(after=1_000))
    assert gone.value.reason == "CURSOR_FROM_FUTURE"
    assert client.submit("dogs", ["echo", 1]).result(DEADLINE) == 1


def test_a_result_past_retention_is_forgotten(place: Server, connect: Connect) -> None:
    """The log is kept for a bounded time: then the job is unknown, and the cursor of its update is gone."""
    kept = ["--segment-bytes=1MiB", "--checkpoint-bytes=1MiB", "--retention-bytes=1MiB", "--ring-bytes=1MiB"]
    place.start(*kept, "--payload-bytes-max=256KiB", "--result-bytes-max=256KiB", "--transport-request-bytes-max=400KiB")
    client = connect(place)
    handle = client.submit("dogs", ["echo", 1])
    assert handle.result(DEADLINE) == 1
    late = client.handle(handle.id)

    def is_forgotten() -> bool:
        client.cancel(list(client.submit_many([bytes(200_000)] * 20, queue="sleighs")))
        return isinstance(client.handle(handle.id).exception(DEADLINE), ResultForgotten)

    eventually(is_forgotten, "retention")
    with pytest.raises(ResultForgotten):
        late.result(DEADLINE)
    assert handle.result() == 1, "this one has it"
    with pytest.raises(CursorGone) as gone:
        list(client.updates(after=1, follow=False))
    assert gone.value.reason == "CURSOR_BELOW_FLOOR"


def test_closing_ends_all_waiting(place: Server, connect: Connect) -> None:
    client = connect(place.start())
    handle = client.submit("sleighs", 1)
    heard: list[BaseException] = []

    def wait(call: Any) -> threading.Thread:
        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001  it is looked at below
                heard.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    tail = client.updates()
    next(tail)
    threads = [wait(handle.result), wait(lambda: list(tail)), wait(lambda: list(client.map("sleighs", [2])))]
    eventually(lambda: len(list(connect(place).updates(follow=False))) == 2, "the job of map")
    client.close()
    for thread in threads:
        thread.join(DEADLINE)
    assert [type(error) for error in heard] == [ClientClosed] * 3
    with pytest.raises(ClientClosed):
        client.submit("sleighs", 1)
    client.close()
