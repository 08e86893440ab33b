"""`AsyncClient` with the face of `Client`, so that every test of the client is one of both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterator
from typing import Any

from gangline import AsyncClient
from gangline import AsyncJobHandle

# Longer than anything here takes on a busy machine; whoever needs it hangs, and so fails.
DEADLINE = 40.0


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(2 * DEADLINE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Faced:
    """An object whose coroutines are run to their end, and whose handles and iterators are faced too."""

    def __init__(self, inner: Any, loop: Loop) -> None:
        self._inner = inner
        self._on = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not inspect.ismethod(value):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            return self._face(value, [_bare(argument) for argument in arguments], options)

        return call

    def _face(self, method: Callable[..., Any], arguments: list[Any], options: dict[str, Any]) -> Any:
        async def on_loop() -> Any:
            answer = method(*arguments, **options)
            return await answer if inspect.iscoroutine(answer) else answer

        answer = self._on.run(on_loop())
        if isinstance(answer, AsyncJobHandle):
            return Faced(answer, self._on)
        return self._iterate(answer) if isinstance(answer, AsyncIterator) else answer

    def _iterate(self, iterator: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    item = self._on.run(iterator.__anext__())
                except StopAsyncIteration:
                    return
                yield Faced(item, self._on) if isinstance(item, AsyncJobHandle) else item
        finally:
            self._on.run(iterator.aclose())


def faced(address: str, loop: Loop, **options: Any) -> Any:
    """An `AsyncClient` that looks like a `Client`."""

    async def make() -> AsyncClient:
        return AsyncClient(address, **options)

    return Faced(loop.run(make()), loop)


def _bare(value: Any) -> Any:
    if isinstance(value, Faced):
        return value._inner
    return [_bare(item) for item in value] if isinstance(value, list) else value
