"""How much memory this process holds, as Linux counts it."""

from __future__ import annotations

import contextlib
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
# What Linux takes as the order to count the largest resident size from the present one on.
FORGET = "5"


def largest_resident() -> int:
    """Bytes that this process held at most, in memory, until now; 0 where the system does not say.

    The kernel's own account (VmHWM) belongs to the process's current memory. `ru_maxrss` does not: it is inherited from
    the process that started this one.
    """
    return _status().get("VmHWM", 0)


def largest_private() -> int:
    """Bytes that this process held at most until now, pages of files left out; 0 where the system does not say.

    Of a process that only grew its set of libraries and data files, whose pages are those of now.
    """
    now = _status()
    return max(now.get("VmHWM", 0) - now.get("RssFile", 0), 0)


class PeakMemory:
    """The memory that this process takes at most, from now on, beyond what it holds now.

    Pages of files, such as those of libraries, are left out: the system drops and reads them again as it likes.
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            CLEAR_REFS.write_text(FORGET)
        now = _status()
        self._file = now.get("RssFile", 0)
        self._held = now.get("RssAnon", now.get("VmHWM", 0))

    @property
    def bytes(self) -> int:
        """Until now; 0 where the system does not say."""
        now = _status()
        # Which pages of files were there at the peak is not known: the most that were there before or after.
        return max(now.get("VmHWM", 0) - max(self._file, now.get("RssFile", 0)) - self._held, 0)


def _status() -> dict[str, int]:
    """Sizes in bytes by name."""
    if not STATUS.exists():
        return {}
    lines = [line.split() for line in STATUS.read_text().splitlines() if line.endswith(" kB")]
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines}
