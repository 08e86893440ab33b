"""The programs of `examples/`, run as a reader of the documentation would run them."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import grpc
from gangline.v1 import job_pb2
from harness import DEADLINE
from harness import ROOT
from harness import Server
from harness import Stubs

EXAMPLES = ROOT / "examples"


def client(address: str, stubs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "client.py"), address, *arguments],
        env={**os.environ, "PYTHONPATH": str(stubs)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_the_worker_is_the_one_of_the_documentation() -> None:
    program = (EXAMPLES / "worker.py").read_text().split('"""\n\n', 1)[1]
    assert f"```python\n{program}```" in (ROOT / "docs" / "workers.md").read_text()


def test_the_client_prints_the_results_of_the_worker_in_order(place: Server, stubs: Path) -> None:
    server = place.pool(command=[sys.executable, str(EXAMPLES / "worker.py")]).start()
    ran = client(server.address, stubs, "gee", "haw", "whoa")
    assert (ran.returncode, ran.stdout) == (0, "GEE\nHAW\nWHOA\n"), ran.stderr


def test_the_client_says_what_failed(place: Server, stubs: Path) -> None:
    program = 'import sys; print("on thin ice", file=sys.stderr); sys.exit(100)'
    server = place.pool(mode="each", command=[sys.executable, "-c", program]).start()
    ran = client(server.address, stubs, "gee")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "DEAD" in ran.stderr and "on thin ice" in ran.stderr


def test_a_handler_in_rust_works_inside_the_server(tmp_path: Path) -> None:
    program = ROOT / "target" / "debug" / "examples" / "handler"
    command = [str(program), str(tmp_path / "data"), "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], DEADLINE)
            assert ready, "it does not start"
            address = process.stdout.readline().decode().removeprefix("listening on ").strip()
            with grpc.insecure_channel(address) as channel:
                stubs = Stubs(channel)
                good, bad = stubs.submit(b"100", b"a hundred").job_ids
                assert stubs.finished(good).result == b"25"
                failed = stubs.finished(bad)
                assert failed.state == job_pb2.JOB_STATE_DEAD
                assert failed.failures[0].failure.message == "the payload is not a number"
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
