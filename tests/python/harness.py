"""The real binary under test: start, kill -9, start again on the same data and port. Every wait has a deadline."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from typing import TypeVar

import grpc
from com.groundsfam.dosomething.v1 import do_something_pb2_grpc
from gangline.v1 import admin_service_pb2_grpc
from gangline.v1 import job_pb2
from gangline.v1 import job_service_pb2
from gangline.v1 import job_service_pb2_grpc
from gangline.v1 import queue_service_pb2_grpc
from gangline.v1 import update_service_pb2_grpc
from gangline.v1 import worker_service_pb2_grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("GANGLINE_BINARY", ROOT / "target" / "debug" / "gangline"))
WORKER = [sys.executable, str(Path(__file__).parent / "workers" / "worker.py")]
# Longer than anything here takes on a busy machine; whoever needs it hangs, and so fails.
DEADLINE = 30.0
# A client that has lost its server looks for it again soon. Without them grpc's own backoff begins at one second.
QUICK_RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Stubs:
    """Every service on one channel."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.seed = do_something_pb2_grpc.DoSomethingServiceStub(channel)
        self.jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self.updates = update_service_pb2_grpc.UpdateServiceStub(channel)
        self.work = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self.queues = queue_service_pb2_grpc.QueueServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)

    def submit(self, *payloads: bytes, key: str = "", **spec: Any) -> job_service_pb2.SubmitJobsResponse:
        """Submits one job a payload, all with the same further fields."""
        jobs = [job_pb2.JobSpec(payload=payload, **spec) for payload in payloads]
        return self.jobs.SubmitJobs(job_service_pb2.SubmitJobsRequest(jobs=jobs, key=key), timeout=DEADLINE)

    def finished(self, job_id: str) -> job_pb2.Job:
        """The job, once it has finished or died."""
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            request = job_service_pb2.GetJobRequest(job_id=job_id, wait=seconds(5), include_result=True)
            job = self.jobs.GetJob(request, timeout=DEADLINE).job
            if job.state not in (job_pb2.JOB_STATE_WAITING, job_pb2.JOB_STATE_RUNNING):
                return job
        raise AssertionError(f"{job} did not finish in {DEADLINE} s")

    def listed(self) -> list[job_pb2.Job]:
        """Every job, in order; after a restart as soon as the history has been read again, as the refusal asks."""
        until = time.monotonic() + DEADLINE
        while True:
            try:
                request = job_service_pb2.ListJobsRequest(page_size=1_000)
                return list(self.jobs.ListJobs(request, timeout=DEADLINE).jobs)
            except grpc.RpcError as error:
                refused = Refusal(error)
                if refused.reason != "WORK_TREE_REBUILDING" or time.monotonic() > until:
                    raise
                assert refused.retry is not None, "it has to say when to come back"
                time.sleep(refused.retry.retry_delay.ToMilliseconds() / 1e3)


class Server:
    """One data directory and the process that serves it, if it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "gangline.toml"
        self.log_path = folder / "server.log"
        self.address = "127.0.0.1:0"
        self.process: subprocess.Popen[bytes] | None = None
        self._channels: list[grpc.Channel] = []

    def pool(self, mode: str = "serve", command: list[str] | None = None, **settings: Any) -> "Server":
        """Adds a pool to the configuration; the test worker in serve mode unless told otherwise."""
        table = {"queues": ["default"], "mode": mode, "command": command or WORKER, **settings}
        lines = [f"{key} = {toml(value)}" for key, value in table.items()]
        with self.config.open("a", encoding="utf-8") as file:
            file.write("\n".join(["[[pools]]", *lines, ""]))
        return self

    def start(self, *flags: str, under: Iterable[str] = ()) -> "Server":
        """Starts the process and returns when it answers; again on the port that it had before."""
        command = [*under, str(BINARY), "serve", "--data", str(self.data), "--listen", self.address, *flags]
        if self.config.exists():
            command += ["--config", str(self.config)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line.startswith("listening on "):
            self.kill()
            raise AssertionError(f"the server did not start: {line!r}\n{self.log()[-4_000:]}")
        self.address = line.removeprefix("listening on ").strip()
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server was never started"
        return self.process.pid

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self._reap()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None, "the server was never started"
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None and self.process.stdout is not None
        code = self.process.wait(DEADLINE)
        self.process.stdout.close()
        return code

    def restart(self) -> "Server":
        """kill -9, then a new process on the same data and port."""
        self.kill()
        return self.start()

    def connect(self) -> Stubs:
        """All stubs, on a channel of its own."""
        channel = grpc.insecure_channel(self.address, options=QUICK_RECONNECT)
        self._channels.append(channel)
        return Stubs(channel)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Background:
    """A function on a thread of its own, whose result or exception `join` hands over."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._thread.start()

    def _run(self, run: Callable[[], Any]) -> None:
        try:
            self._outcome = run()
        except BaseException as error:  # noqa: BLE001  handed to whoever joins
            self._error = error

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> Any:
        self._thread.join(DEADLINE)
        assert self.is_over, f"still at work after {DEADLINE} s"
        if self._error is not None:
            raise self._error
        return self._outcome


def eventually(look: Callable[[], T], what: str) -> T:
    """The first true answer of `look`, asked again and again until the deadline."""
    until = time.monotonic() + DEADLINE
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"not within {DEADLINE} s: {what}; the last answer was {answer!r}")
        time.sleep(0.01)


def toml(value: Any) -> str:
    """The value in TOML, which is JSON but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def seconds(count: float) -> duration_pb2.Duration:
    """A protobuf duration."""
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(int(count * 1e9))
    return duration


class Refusal:
    """What a failed call says to programs: the details of `google.rpc.Status`."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code()
        self.text = error.details()
        status = rpc_status.from_call(error)
        assert status is not None, f"no google.rpc.Status on {error!r}"
        self.info = error_details_pb2.ErrorInfo()
        self.retry: error_details_pb2.RetryInfo | None = None
        self.fields: list[str] = []
        for detail in status.details:
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(retry):
                self.retry = retry
            elif detail.Unpack(bad):
                self.fields = [violation.field for violation in bad.field_violations]
            else:
                detail.Unpack(self.info)

    @property
    def reason(self) -> str:
        return self.info.reason


def refusal(call: Callable[[], Any]) -> Refusal:
    """Makes a call that must fail."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"it was not refused: {answer!r}")
