"""How long and how often to try again: growing pauses, of which a part is chance, with a bound on their sum.

Pure: it neither sleeps nor reads a clock. Both clients ask it.
"""

from __future__ import annotations

import math
import random

from gangline.errors import CallError
from gangline.faults import passes

PAUSE_MIN = 0.05
PAUSE_MAX = 2.0

FOREVER = math.inf


class Patience:
    """The patience of one call, in seconds."""

    def __init__(self, whole: float) -> None:
        self._whole = whole
        self.restore()

    def restore(self) -> None:
        """Something went well: the patience is whole again."""
        self.left = self._whole
        self._next = PAUSE_MIN
        self._bugs = 0

    def pause_after(self, error: CallError, *, harmless: bool = True) -> float | None:
        """How long to wait before trying again after `error`; `None`: do not.

        `harmless`: the call may be made again even if it may have happened.
        """
        if not passes(error) or self.left <= 0 or (error.outcome_unknown and not harmless):
            return None
        if error.reason == "INTERNAL":
            # A bug is met again and again: one repeat, as docs/errors.md says.
            self._bugs += 1
            if self._bugs > 1:
                return None
        pause = max(self._next * random.uniform(0.5, 1), error.retry_after or 0)
        pause = min(pause, self.left)
        self.left -= pause
        self._next = min(self._next * 2, PAUSE_MAX)
        return pause

    def spend(self, seconds: float) -> None:
        """Time that went by in the call itself."""
        self.left -= seconds
