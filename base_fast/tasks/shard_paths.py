"""From a pattern to the shards that it means."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from base_fast.errors import InputError
from base_fast.tasks.optional import require

MOST_SHARDS = 100_000
RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?\}")


def shard_paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that paths, globs and brace patterns name, each once, in that order.

    What is there under the very name that is given, a file or the first folders of a pattern, is taken by that name,
    whatever braces, brackets and backslashes are in it. `~` is the home folder.

    Raises:
        InputError: a pattern matches nothing, cannot be understood, or names over 100,000 files.
    """
    patterns = [paths] if isinstance(paths, (str, Path)) else list(paths)
    shards = [Path(match).resolve() for pattern in patterns for match in _matches(os.path.expanduser(pattern))]
    if not shards:
        raise InputError("path: no shards given, expected .tar or .tar.gz files")
    return list(dict.fromkeys(shards))


def _matches(pattern: str) -> Iterator[str]:
    if os.path.isfile(pattern):
        yield pattern
        return
    folder, rest = _split(pattern)
    for name in _expanded(rest, pattern):
        path = os.path.join(folder, name)
        matches = sorted(glob.glob(os.path.join(glob.escape(folder), name), recursive=True))
        files = [path] if os.path.isfile(path) else [match for match in matches if os.path.isfile(match)]
        if not files:
            raise InputError(f"path: no shard matches {path!r}, expected .tar or .tar.gz files")
        yield from files


def _split(pattern: str) -> tuple[str, str]:
    """The part of a pattern that is there, and the rest, which is to be expanded."""
    parts = Path(pattern).parts
    there = 0
    while there < len(parts) - 1 and os.path.exists(os.path.join(*parts[: there + 1])):
        there += 1
    return os.path.join("", *parts[:there]), os.path.join("", *parts[there:])


def _expanded(rest: str, pattern: str) -> Iterator[str]:
    braces = require("braceexpand", "braceexpand", "the source shards")
    too_many = InputError(f"path: {pattern[:200]!r} names over {MOST_SHARDS:,} shards; check its ranges")
    # Before they are expanded, which takes memory.
    if any(len(end) > 18 for found in RANGE.findall(rest) for end in found):
        raise too_many
    ranges = [(int(first), int(last), int(step or 1) or 1) for first, last, step in RANGE.findall(rest)]
    if math.prod(abs(last - first) // step + 1 for first, last, step in ranges) > MOST_SHARDS:
        raise too_many
    try:
        names = list(islice(braces.braceexpand(rest, escape=False), MOST_SHARDS + 1))
    except ValueError as error:
        raise InputError(f"path: {pattern!r} cannot be expanded ({error})") from None
    if len(names) > MOST_SHARDS:
        raise too_many
    yield from names
