"""Payloads and results as bytes with a media type: JSON by default, bytes as they are; never pickle.

Both sides use it, so it imports nothing beyond the standard library: the client encodes what it submits and decodes
results, a worker decodes payloads and encodes results.

A *call* is how a function call travels (`GanglineExecutor`): a JSON object with `task` (the task's name), `args` and
`kwargs`. Any other payload is the one argument of the queue's task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

JSON = "application/json"
BYTES = "application/octet-stream"
CALL = "application/vnd.gangline.call+json"

_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Call(NamedTuple):
    """A call of a named task."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]


def encode(value: Any) -> tuple[bytes, str]:
    """The value as bytes, and their media type.

    Bytes stay as they are. Everything else becomes JSON.

    Raises:
        TypeError: it is neither bytes nor something that JSON has.
        ValueError: it holds a number that JSON does not have, or itself.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), BYTES
    return _dump(value).encode(), JSON


def encode_call(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bytes, str]:
    """The call as bytes, and its media type; raises as `encode` does."""
    return _dump({"task": task, "args": list(args), "kwargs": dict(kwargs)}).encode(), CALL


def decode(data: bytes, content_type: str) -> Any:
    """What the bytes mean: a `Call`, a value out of JSON, a text, or for every other media type the bytes themselves.

    Raises:
        ValueError: the bytes are not what their media type says.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return json.loads(data)
    if kind == CALL:
        call = json.loads(data)
        if not isinstance(call, dict) or not isinstance(call.get("task"), str):
            raise ValueError("a call has to be a JSON object with the name of its task")
        return Call(call["task"], list(call.get("args", [])), dict(call.get("kwargs", {})))
    if kind.startswith("text/"):
        return data.decode()
    return data
