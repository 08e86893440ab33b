"""The seed's worker.py, server.py and main.py on Gangline: `gangline serve --data data --python worker` does the rest."""

import json

import gangline
from work import longest_chain


@gangline.task()
def do_something(item: bytes) -> dict[str, int]:
    return longest_chain(**json.loads(item))
