"""grpc-js, the other implementation of gRPC: submits and tails with stubs made at run time. Skipped without Node or npm."""

import shutil
import subprocess
from pathlib import Path

import pytest
from harness import DEADLINE
from harness import ROOT
from harness import Server

SOURCE = Path(__file__).parent / "js"


@pytest.fixture(scope="module")
def installed() -> Path:
    """The folder with the program and its packages, kept under `target/` from run to run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not installed")
    folder = ROOT / "target" / "grpc-js"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (SOURCE / "package.json").read_text()
    package = folder / "package.json"
    if not (package.exists() and package.read_text() == wanted and (folder / "installed").exists()):
        package.write_text(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        npm = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        if npm.returncode != 0:
            pytest.skip(f"npm cannot install grpc-js here: {npm.stderr.strip()[-300:]}")
        (folder / "installed").touch()
    shutil.copy(SOURCE / "smoke.js", folder)
    return folder


def test_grpc_js_submits_and_tails(server: Server, installed: Path) -> None:
    command = ["node", "smoke.js", server.address, str(ROOT / "proto")]
    ran = subprocess.run(command, cwd=installed, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "UPDATE_KIND_SUBMITTED gee\nUPDATE_KIND_SUBMITTED haw\n"
