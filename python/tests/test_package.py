"""What is installed: the stubs that the build made, and names that are loaded on first use only."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import gangline
from gangline import payload

ROOT = Path(__file__).resolve().parents[2]


def test_the_stubs_were_made_from_every_definition() -> None:
    definitions = {path.stem for path in (ROOT / "proto" / "gangline" / "v1").glob("*.proto")}
    package = ROOT / "python" / "src" / "gangline" / "v1"
    assert definitions
    for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
        made = {path.name[: -len(ending)] for path in package.glob(f"*{ending}")}
        assert made == definitions, f"install the package again: pip install -e python ({ending})"


def test_importing_the_package_does_not_import_grpc() -> None:
    """A worker process imports it, and must stay free of threads and of gRPC."""
    look = "import sys, gangline, gangline.payload; print([m for m in sys.modules if m.startswith(('grpc', 'google'))])"
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == "[]"


def test_exceptions_cross_processes() -> None:
    failed = gangline.JobFailed("7", "thin ice", kind="timed_out", attempts=2, signal=9)
    again = pickle.loads(pickle.dumps(failed))
    assert (type(again), str(again), vars(again)) == (gangline.JobFailed, str(failed), vars(failed))
    assert str(again) == "job 7 timed out after 2 attempts: thin ice"
    refused = pickle.loads(pickle.dumps(gangline.Exhausted("full", reason="QUEUE_FULL", retry_after=2)))
    assert (str(refused), refused.retry_after) == ("full [QUEUE_FULL]", 2)


def test_a_name_that_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sleigh'"):
        gangline.sleigh  # noqa: B018


@pytest.mark.parametrize("address", ["http://127.0.0.1:4264", "https://jobs", "127.0.0.1", "jobs.internal"])
def test_what_is_no_address_is_said_at_once(address: str) -> None:
    for kind in (gangline.Client, gangline.AsyncClient):
        with pytest.raises(ValueError, match=r"no address of a server: write host:port, such as 127.0.0.1:4264"):
            kind(address)


def test_the_release_is_that_of_the_server() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    assert f'version = "{metadata.version("gangline")}"' in manifest.split("[dependencies]")[0]


@pytest.mark.parametrize("value", [None, True, 7, 0.5, "sled ü", [1, {"a": None}], {"b": [2]}, b"\x00\xff", b""])
def test_a_payload_comes_back_as_it_was(value: object) -> None:
    data, content_type = payload.encode(value)
    assert payload.decode(data, content_type) == value
    assert content_type == (payload.BYTES if isinstance(value, bytes) else payload.JSON)


def test_a_call_comes_back_as_it_was() -> None:
    data, content_type = payload.encode_call("dogs:pull", ["x", 1], {"hard": True})
    assert payload.decode(data, content_type) == payload.Call("dogs:pull", ["x", 1], {"hard": True})


@pytest.mark.parametrize(("value", "error"), [({1, 2}, TypeError), (float("nan"), ValueError), (object(), TypeError)])
def test_what_json_does_not_have_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        payload.encode(value)


@pytest.mark.parametrize(
    ("data", "content_type", "value"),
    [
        (b"\xff", "", b"\xff"),
        (b"text", "text/plain; charset=utf-8", "text"),
        (b'{"a":1}', "Application/JSON", {"a": 1}),
        (b"{", "image/png", b"{"),
    ],
)
def test_the_media_type_says_what_the_bytes_mean(data: bytes, content_type: str, value: object) -> None:
    assert payload.decode(data, content_type) == value


@pytest.mark.parametrize(
    ("data", "content_type"),
    [(b"{", payload.JSON), (b"[]", payload.CALL), (b"{}", payload.CALL), (b"\xff", "text/plain")],
)
def test_bytes_that_are_not_what_they_say_are_refused(data: bytes, content_type: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        payload.decode(data, content_type)
