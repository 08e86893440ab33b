"""From what gRPC raises to the exceptions of `gangline.errors`, and which of them pass by themselves.

The details are the `google.rpc` messages that the server puts on every refusal.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2
from google.rpc import status_pb2

from gangline.errors import CallError
from gangline.errors import Conflict
from gangline.errors import CursorGone
from gangline.errors import Exhausted
from gangline.errors import InvalidArgument
from gangline.errors import NotFound
from gangline.errors import ServerFault
from gangline.errors import Unavailable

DETAILS = "grpc-status-details-bin"

_BY_CODE: dict[str, type[CallError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": Conflict,
    "FAILED_PRECONDITION": Conflict,
    "ABORTED": Conflict,
    "OUT_OF_RANGE": CursorGone,
    "RESOURCE_EXHAUSTED": Exhausted,
    "UNAVAILABLE": Unavailable,
}
_CURSOR_REASONS = frozenset({"CURSOR_BELOW_FLOOR", "CURSOR_FROM_FUTURE", "CURSOR_OF_OTHER_STORE"})
# Reasons that go away with nobody doing anything about it.
_PASSING_REASONS = frozenset(
    {
        "QUEUE_FULL",
        "SERVICE_FULL",
        "DEDUPE_FULL",
        "DISK_FULL",
        "BUSY",
        "WORK_TREE_REBUILDING",
        "SHUTTING_DOWN",
        "OUTCOME_UNKNOWN",
        "INTERNAL",
    }
)
# Codes without a reason: the transport's own. A broken link passes, a message over a limit does not. INTERNAL is also what
# grpc.aio says when the connection ends under a write ("Internal error from Core").
_PASSING_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED", "INTERNAL", "UNKNOWN"})
_UNKNOWN_REASONS = frozenset({"PRODUCER_REPLACED", "WORKER_REPLACED", "OUTCOME_UNKNOWN", "INTERNAL"})


def error_of(error: grpc.RpcError, address: str) -> CallError:
    """The exception that says what `error` means."""
    code: str = error.code().name
    text: str = error.details() or code
    info, retry_after, fields = _details(error)
    if not info.reason:
        return _of_transport(code, text, address)
    kind = CursorGone if info.reason in _CURSOR_REASONS else _BY_CODE.get(code, ServerFault)
    unknown = info.reason in _UNKNOWN_REASONS
    return kind(text, reason=info.reason, code=code, retry_after=retry_after, fields=fields, outcome_unknown=unknown)


def passes(error: CallError) -> bool:
    """Whether the same call may succeed later, with nobody doing anything about it."""
    return error.reason in _PASSING_REASONS if error.reason else error.code in _PASSING_CODES


def blames_a_job(error: CallError) -> bool:
    """Whether the refusal of a batch is about one of its jobs, so that the others would be accepted."""
    return not passes(error) and (isinstance(error, (InvalidArgument, Exhausted)) or error.code == "OUT_OF_RANGE")


def _of_transport(code: str, text: str, address: str) -> CallError:
    if code in _PASSING_CODES:
        return Unavailable(f"the link to {address} failed: {text}", code=code)
    if code == "UNIMPLEMENTED":
        return ServerFault(f"{address} is no Gangline server: {text}", code=code, outcome_unknown=False)
    if code in ("OUT_OF_RANGE", "RESOURCE_EXHAUSTED"):
        limit = "the server's is transport.request_bytes_max"
        return Exhausted(f"a message was over a limit between here and {address} ({limit}): {text}", code=code)
    return ServerFault(f"{address} or something before it refused: {text}", code=code)


def _details(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo, float | None, list[str]]:
    info, retry_after, fields = error_details_pb2.ErrorInfo(), None, []
    for detail in _status(error).details:
        retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1_000
        elif detail.Unpack(bad):
            fields = [f"{violation.field}: {violation.description}" for violation in bad.field_violations]
        else:
            detail.Unpack(info)
    return info, retry_after, fields


def _status(error: grpc.RpcError) -> status_pb2.Status:
    metadata: Any = error.trailing_metadata()
    for key, value in metadata or ():
        if key == DETAILS:
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()
