"""The system's allocator in a known state, the same for every contender.

glibc maps a block of more than 32 MB anew at every allocation, unless earlier calls happen to have left a hole large
enough. The kernel then clears page by page what is about to be overwritten: of 10 million weights some 10 ms per
tensor, more than many a kernel takes, and by chance. Memory that is kept and reused, as caching allocators keep it,
makes times repeatable and lets them be compared with the time of moving the bytes.
"""

from __future__ import annotations

import ctypes
import platform

# From malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Have malloc take everything from its heap and never shrink it; False where the allocator is another one."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # -1: never.
    return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, -1))
