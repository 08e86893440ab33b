"""The seed's worker.py: takes an item, computes, puts the result where the server finds it."""

import asyncio
import base64
import json
import sys
from multiprocessing import Queue
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from work import longest_chain  # noqa: E402


async def cpu_intensive_work(item: dict[str, str]) -> dict[str, int]:
    return longest_chain(**json.loads(base64.b64decode(item["payload"])))


def worker(work_queue: Queue, update_queue: Queue) -> None:
    async def do_work() -> None:
        while True:
            # blocks this process until we get something to work on
            item = work_queue.get()
            result = await cpu_intensive_work(item)
            update_queue.put((item["name"], result))

    asyncio.run(do_work())
