"""Cancels of many jobs at once reach every one of them."""

from __future__ import annotations

from functools import partial

from conftest import eventually
from gangline import JobHandle
from gangline import JobState
from gangline.testing import Server

# A cancel that a process missed left it busy for ever: one round in some ten, before it was told again.
ROUNDS = 30


def test_no_process_goes_on_with_a_job_that_was_cancelled(place: Server) -> None:
    with place.start().client() as client:
        for _ in range(ROUNDS):
            # Short jobs, so that a process is given some ahead, and puts them back when the one in work is cancelled.
            assert sum(client.map("dogs", [["echo", 1]] * 400, timeout=30)) == 400
            handles = list(client.submit_many([["wait", "never"]] * 100, queue="dogs"))
            eventually(partial(runs, handles[0]), "the first one runs")
            assert all(client.cancel(handles))
            assert client.submit("dogs", ["echo", "free"]).result(10) == "free"
            assert client.submit("dogs", ["echo", "free"]).result(10) == "free"


def runs(handle: JobHandle) -> bool:
    return handle.job().state is JobState.RUNNING
