"""Tasks that the tests of the executor, and its workers, import."""

from __future__ import annotations

import os
import time

import gangline


@gangline.task(queue="pull")
def pull(sled: str, *, hard: bool = False) -> list[object]:
    return [sled, hard]


@gangline.task(queue="wait")
def wait_for(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.01)
    return "waited"


@gangline.task(queue="stumble")
def stumble(why: str) -> None:
    raise gangline.PermanentError(why)


@gangline.task(queue="square")
def square(number: int) -> int:
    return number * number


@gangline.task(queue="cube")
async def cube(number: int) -> int:
    return number**3


def stray() -> None:
    """No task."""
