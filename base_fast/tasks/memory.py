"""How much memory is free, and whether images fit into it: said before they are read."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path
from warnings import warn

from base_fast.errors import InputError


def check_fits(name: str, count: int, resolution: int, held: int = 0) -> None:
    """Raise InputError unless the images that are still to be read fit into the free memory.

    Args:
        name: the source's name.
        count: number of images, 3·R² bytes each.
        resolution: R, pixels per side.
        held: how many of them are in memory already.
    """
    size, free = 3 * resolution**2, available()
    if free is not None and (count - held) * size > free:
        raise InputError(
            f"{name}: {count:,} images of {resolution} pixels take {_gigabytes(count * size)} of memory, but "
            f"{_gigabytes(free + held * size)} are free; take fewer images or a store of them (base-fast prepare)"
        )


def can_keep(name: str, count: int, resolutions: Sequence[int]) -> bool:
    """Whether all images of a source fit into the free memory; warns where they do not, and will be decoded again."""
    size, free = sum(3 * count * resolution**2 for resolution in resolutions), available()
    if free is None or size <= free:
        return True
    pixels = ", ".join(map(str, resolutions))
    warn(
        f"{name}: to keep {count:,} images of {pixels} pixels takes {_gigabytes(size)} of memory, but "
        f"{_gigabytes(free)} are free; they are decoded each time they are used, where a store of them "
        "(base-fast prepare) is faster",
        stacklevel=4,
    )
    return False


def available() -> int | None:
    """Bytes that can be allocated here without swapping; None where the system does not say."""
    found = [number for number in (_of_the_machine(), _of_the_control_group(), _of_the_process()) if number is not None]
    return min(found, default=None)


def _of_the_machine() -> int | None:
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        return int(match[1]) * 1024 if match else None
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _of_the_control_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a container leaves; files that the system keeps in memory do not count as used."""
    try:
        limit = int((folder / "memory.max").read_text())  # "max" where there is none
        used = int((folder / "memory.current").read_text())
        files = re.search(r"^inactive_file (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return max(limit - used + (int(files[1]) if files else 0), 0)


def _of_the_process() -> int | None:
    """What this process's own limits leave (`ulimit -d` and `-v`, as batch systems set them)."""
    try:
        held = dict(re.findall(r"^(VmData|VmSize):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE))
    except OSError:
        return None
    limits = {"VmData": resource.RLIMIT_DATA, "VmSize": resource.RLIMIT_AS}
    soft = {name: resource.getrlimit(limit)[0] for name, limit in limits.items()}
    left = [soft[name] - int(held[name]) * 1024 for name in held if soft[name] != resource.RLIM_INFINITY]
    return max(min(left), 0) if left else None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"
