"""What `gangline.task` leaves of a function, and what its helpers do outside a job."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gangline
from gangline import tasks


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before = dict(tasks.registered)
    yield
    tasks.registered.clear()
    tasks.registered.update(before)


def test_a_task_is_still_its_function() -> None:
    @gangline.task(queue="dogs")
    def double(value: int) -> int:
        gangline.progress(0.5, "half")
        return 2 * value

    assert double(4) == 8
    assert tasks.registered["dogs"].function is double


def test_a_module_may_be_loaded_again() -> None:
    for _ in range(2):

        @gangline.task(queue="dogs")
        def double(value: int) -> int:
            return 2 * value

    assert tasks.registered["dogs"].function is double


@pytest.mark.parametrize("done", [-0.1, 1.1, float("nan")])
def test_progress_is_a_share(done: float) -> None:
    with pytest.raises(ValueError, match="share from 0 to 1"):
        gangline.progress(done)


def test_outside_a_job_there_is_none() -> None:
    with pytest.raises(RuntimeError, match="no job is in work"):
        gangline.current_job()
