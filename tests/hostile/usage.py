"""How much memory and time something takes."""

from __future__ import annotations

import re
import time
from pathlib import Path

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Usage:
    """Measures what is done inside of ``with``; Linux alone tells a peak that can be reset.

    Attributes:
        megabytes: resident memory at its peak, above ``idle`` or else above what it was at the start.
        seconds: of wall clock.
    """

    def __init__(self, idle: float | None = None) -> None:
        self._idle = idle

    def __enter__(self) -> Usage:
        CLEAR_REFS.write_text("5")  # the peak begins anew from what is resident now
        self._start = time.monotonic()
        self._before = resident() if self._idle is None else self._idle
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.monotonic() - self._start
        self.megabytes = max(0.0, _kilobytes("VmHWM") / 1000 - self._before)


def resident() -> float:
    """Memory of this process in MB."""
    return _kilobytes("VmRSS") / 1000


def _kilobytes(field: str) -> int:
    return int(re.search(rf"^{field}:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)[1])
