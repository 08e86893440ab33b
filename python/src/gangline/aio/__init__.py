"""The client for asyncio: `AsyncClient` with the names of `Client`, on `grpc.aio`.

All of it runs on the one event loop where the client was first used, so nothing here takes a lock. What it decides is in the
modules that both clients share: `tracking`, `producing`, `patience`.
"""

from __future__ import annotations
