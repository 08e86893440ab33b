"""A real server for tests: on a directory and port of its own, started, stopped, killed and started again at will.

With pytest the fixtures `gangline_server` and `gangline_client` are there by themselves; in any other framework:

    with Server(folder).pool(["python3", "worker.py"]).start() as server, server.client() as client:
        assert client.submit("default", "payload").result(timeout=10) == "PAYLOAD"
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from gangline.client import Client

BINARY_VARIABLE = "GANGLINE_BINARY"

# Longer than a server takes to start or to stop on a busy machine.
START_SECONDS = 60.0


def find_binary() -> Path:
    """The program `gangline`: what `GANGLINE_BINARY` says, or what the search path has.

    Raises:
        FileNotFoundError: there is none.
    """
    named = os.environ.get(BINARY_VARIABLE)
    found = named if named and Path(named).is_file() else shutil.which("gangline")
    if not found or (named and found != named):
        raise FileNotFoundError(
            f"{BINARY_VARIABLE} names {named}, which is no file"
            if named
            else f"no program gangline: put it on the search path, or say where it is in {BINARY_VARIABLE}"
        )
    return Path(found)


class Server:
    """One data directory, and the process that serves it if it runs."""

    def __init__(self, folder: str | os.PathLike[str], *, binary: str | os.PathLike[str] | None = None) -> None:
        """`folder`: an empty one, for the data, the configuration and the server's log."""
        self.folder = Path(folder)
        self.binary = Path(binary) if binary else find_binary()
        self.address = "127.0.0.1:0"
        """Where it listens, once it was started; the same after a restart."""
        self.log_path = self.folder / "server.log"
        self.data = self.folder / "data"
        self._config = self.folder / "gangline.toml"
        self._process: subprocess.Popen[bytes] | None = None

    def pool(
        self,
        command: Sequence[str],
        *,
        queues: Sequence[str] = ("default",),
        mode: str = "serve",
        processes: int = 2,
        **settings: Any,
    ) -> Server:
        """Adds a pool of worker processes, before the start; `settings` are those of `[[pools]]`."""
        table = {"queues": list(queues), "mode": mode, "command": list(command), "processes": processes, **settings}
        with self._config.open("a", encoding="utf-8") as file:
            file.write("\n".join(["[[pools]]", *(f"{key} = {_toml(value)}" for key, value in table.items()), ""]))
        return self

    def start(self, *flags: str) -> Server:
        """Starts the process and returns when it answers.

        Raises:
            RuntimeError: it did not start; its log is in the message.
        """
        command = [str(self.binary), "serve", "--data", str(self.data), "--listen", self.address, *flags]
        if self._config.exists():
            command += ["--config", str(self._config)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline().decode() if ready else ""
        if not line.startswith("listening on "):
            self.kill()
            raise RuntimeError(f"the server did not start: {line!r}\n{self.log()[-4_000:]}")
        self.address = line[len("listening on ") :].strip()
        return self

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def stop(self) -> int:
        """SIGTERM; returns the exit code, which is 0 if everything is on disk."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return self._reap()

    def restart(self) -> Server:
        """kill -9, and a new process on the same data and port."""
        self.kill()
        return self.start()

    def client(self, **options: Any) -> Client:
        """A client of this server; who asks for it closes it."""
        from gangline.client import Client

        return Client(self.address, **options)

    def log(self) -> str:
        """What the server has written to its log, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def close(self) -> None:
        """Ends the process, if it runs; the data stay."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _reap(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        code = self._process.wait(START_SECONDS)
        self._process.stdout.close()
        return code


def _toml(value: Any) -> str:
    """The value in TOML, which is JSON but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
