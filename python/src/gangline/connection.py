"""One channel to a server: its address, its options, and the calls of the API on it."""

from __future__ import annotations

import os
from typing import Any
from typing import NamedTuple

from gangline.errors import CallError
from gangline.errors import Unavailable
from gangline.v1 import job_service_pb2_grpc
from gangline.v1 import update_service_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:4264"
ADDRESS_VARIABLE = "GANGLINE_SERVER"

# How long one try of a call may take, in seconds: a server that has stopped answering is asked again on the next one.
TRY_SECONDS = 15.0
# How long one GetJob waits on the server.
WAIT_SECONDS = 10.0

OPTIONS: tuple[tuple[str, Any], ...] = (
    # A client that has lost its server looks for it again soon; gRPC's own pause begins at one second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Also how long one try to connect may take.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A link that went away without a word is noticed while calls wait on it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A connection of its own for each client: the calls of one at a time are limited.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
)


class Calls(NamedTuple):
    """The services on a channel."""

    jobs: Any
    updates: Any


def calls_of(channel: Any) -> Calls:
    """The services on `channel`, which may be one of `grpc` or of `grpc.aio`."""
    return Calls(
        job_service_pb2_grpc.JobServiceStub(channel),  # type: ignore[no-untyped-call]
        update_service_pb2_grpc.UpdateServiceStub(channel),  # type: ignore[no-untyped-call]
    )


def address_of(address: str | None) -> str:
    """The address, or what the environment says, or the default.

    Raises:
        ValueError: it is a URL, or has no port.
    """
    named = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    if named.startswith(("http:", "https:", "grpc:")) or ":" not in named:
        raise ValueError(f"{named!r} is no address of a server: write host:port, such as {DEFAULT_ADDRESS}")
    return named


def nobody_at(address: str, error: CallError) -> Unavailable:
    """`error`, of a server that was never reached, with what to do about it."""
    text = (
        f"no Gangline server answers at {address}; start one with `gangline serve`, or say where it is: "
        f"Client('host:port') or {ADDRESS_VARIABLE}=host:port; {error.text}"
    )
    return Unavailable(text, code=error.code, outcome_unknown=False)
