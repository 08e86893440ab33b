"""The wheel and the source distribution, installed by a user who has no checkout, and used with `mypy --strict`."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from gangline.testing import Server

PACKAGE = Path(__file__).resolve().parents[1]
BUILD_VARIABLE = "GANGLINE_BUILD_PYTHON"

PROGRAM = """\
from __future__ import annotations

import asyncio
import sys
from typing import Any

import gangline
from gangline.testing import Server
from gangline.v1 import admin_service_pb2
from gangline.v1 import admin_service_pb2_grpc


@gangline.task(queue="double")
def double(number: int) -> int:
    return 2 * number


def say(update: gangline.Update) -> str:
    return f"{update.kind.value} {update.cursor}"


async def again(address: str) -> Any:
    async with gangline.AsyncClient(address) as client:
        handle: gangline.AsyncJobHandle = await client.submit("dogs", ["echo", 2])
        return await handle.result(timeout=30)


def main(address: str) -> None:
    with gangline.Client(address) as client:
        handle: gangline.JobHandle = client.submit("dogs", ["echo", double(1)], retry=gangline.RetryPolicy(max_attempts=1))
        print(handle.result(timeout=30))
        print(asyncio.run(again(address)))
        for update in client.updates(job_ids=[handle.id], follow=False):
            print(say(update))
        # Of the generated code the messages are typed, the stubs are not.
        stub = admin_service_pb2_grpc.AdminServiceStub(client.channel)  # type: ignore[no-untyped-call]
        print(stub.GetServerInfo(admin_service_pb2.GetServerInfoRequest()).version)
    print(gangline.__file__, Server.__name__)


main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def build_python() -> str:
    """A Python that has what makes a wheel."""
    python = os.environ.get(BUILD_VARIABLE)
    if not python:
        pytest.skip(f"{BUILD_VARIABLE} names no Python with tests/requirements-build.txt: run scripts/test-python-package")
    return python


def test_what_is_built_works_far_from_the_checkout(build_python: str, kennel: Server, tmp_path: Path) -> None:
    # Without a word of how: a source distribution, and a wheel out of that.
    run([build_python, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", PACKAGE])
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    source = PACKAGE / "src"
    wanted = {str(path.relative_to(source)) for path in source.rglob("*") if path.suffix in (".py", ".pyi", ".typed")}
    # With the stubs, which an editable install has made here, and without leftovers.
    assert {"gangline/py.typed", "gangline/v1/job_pb2.pyi", "gangline/v1/job_service_pb2_grpc.py"} <= wanted
    assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == wanted

    fresh = tmp_path / "fresh"
    venv.create(fresh)
    python = fresh / "bin" / "python"
    # The same versions of gRPC and the rest as here, out of pip's cache if there is one.
    freeze = run([sys.executable, "-m", "pip", "freeze", "--exclude-editable"]).splitlines()
    pins = [pin for pin in freeze if pin.startswith(("grpcio==", "protobuf==", "googleapis-common-protos=="))]
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", wheel, *pins],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to establish a new connection" in installed.stderr or "Could not find a version" in installed.stderr:
        pytest.skip(f"its dependencies cannot be fetched here: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr

    (tmp_path / "program.py").write_text(PROGRAM)
    said = run([python, "program.py", kennel.address], tmp_path).splitlines()
    assert said[:2] == ["2", "2"]
    assert [line.split()[0] for line in said[2:-2]] == ["submitted", "started", "succeeded"]
    assert said[-1].startswith(str(fresh))
    run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--python-executable",
            python,
            f"--cache-dir={sys.prefix}/mypy-of-wheel",
            "program.py",
        ],
        tmp_path,
    )
    assert run([python, "-m", "gangline.worker", "--queues", "dogs"], with_a_task(tmp_path)) == "double\n"


def with_a_task(folder: Path) -> Path:
    (folder / "dogs.py").write_text("import gangline\n\n\n@gangline.task(queue='double')\ndef double(n): return 2 * n\n")
    return folder


def run(command: list[str | Path], folder: Path = PACKAGE) -> str:
    """What it prints; it has to succeed."""
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
