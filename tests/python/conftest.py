"""Makes the stubs from `proto/` with grpcio-tools before any test is read, and gives each test its own place."""

import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

import pytest
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
_stubs = Path(tempfile.mkdtemp(prefix="gangline-stubs-"))


def _generate() -> None:
    proto = ROOT / "proto"
    files = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{proto}", f"-I{well_known}", f"--python_out={_stubs}", f"--grpc_python_out={_stubs}"]
    if protoc.main([*arguments, *files]) != 0:
        raise RuntimeError("grpcio-tools could not compile proto/: its message is above")
    sys.path.insert(0, str(_stubs))


_generate()

from harness import Server  # noqa: E402  the harness imports the stubs


def pytest_unconfigure() -> None:
    shutil.rmtree(_stubs, ignore_errors=True)


@pytest.fixture
def stubs() -> Path:
    """The folder of the generated stubs, for programs that a test starts."""
    return _stubs


@pytest.fixture
def place(tmp_path: Path):
    """A server that is not started yet; it ends with the test, and its log is shown if the test failed."""
    server = Server(tmp_path)
    yield server
    server.close()
    print(f"--- the server's log ({server.log_path}) ends:")
    print(server.log()[-8_000:])


@pytest.fixture
def server(place: Server) -> Server:
    """A running server without worker processes."""
    return place.start()
