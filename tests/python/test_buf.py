"""buf: the definitions keep its rules, and `buf curl` can talk to the server with nothing but reflection."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.rpc import error_details_pb2
from harness import DEADLINE
from harness import ROOT
from harness import Server

BUF = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")

pytestmark = pytest.mark.skipif(BUF is None, reason="buf is not installed: pip install -r tests/python/requirements-optional.txt")


def buf(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BUF), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False, **options
    )


def curl(server: Server, method: str, request: dict) -> subprocess.CompletedProcess[str]:
    url = f"http://{server.address}/{method}"
    return buf("curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", json.dumps(request), url)


def test_lint() -> None:
    linted = buf("lint")
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_curl_calls_a_service_it_learns_by_reflection(server: Server) -> None:
    called = curl(server, "gangline.v1.JobService/SubmitJobs", {"jobs": [{"queue": "q", "payload": "bXVzaA=="}]})
    assert called.returncode == 0, called.stderr
    ids = json.loads(called.stdout)["jobIds"]
    tailed = curl(server, "gangline.v1.UpdateService/GetUpdates", {"follow": "FOLLOW_MODE_STOP_AT_HEAD"})
    assert tailed.returncode == 0, tailed.stderr
    # One JSON document a message; the first tells where the reader is.
    assert f'"jobId": "{ids[0]}"' in tailed.stdout


def test_curl_shows_why_it_was_refused(server: Server) -> None:
    refused = curl(server, "gangline.v1.JobService/GetJob", {"jobId": "0198a5c2-6f00-7000-8000-000000000001"})
    assert refused.returncode != 0
    said = json.loads(refused.stderr)
    assert (said["code"], said["details"][0]["type"]) == ("not_found", "google.rpc.ErrorInfo")
    info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(said["details"][0]["value"] + "=="))
    assert info.reason == "JOB_NOT_FOUND"
