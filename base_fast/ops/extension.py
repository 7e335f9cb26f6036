"""The compiled extensions beside the package: `_C` (CPU) and `_C_cuda`.

A missing one is no error: its ops run on the next kernel that `backends()` names. A broken one is, at the first op that
it should serve: it would turn a failed build into a silent loss of speed. Importing the package fails for neither, so
that `base-fast doctor` can say what is wrong.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

# How a shared library of 64 bits, least byte first, begins; bytes of an entry in its table of segments.
ELF_64 = b"\x7fELF\x02\x01"
SEGMENT = 56
PACKAGE = Path(__file__).parents[1]
REBUILD = (
    "build it: `make build install` in a checkout, "
    "elsewhere `pip install --force-reinstall --no-deps --no-cache-dir base-fast`"
)


@dataclass(frozen=True)
class Extension:
    """A loaded extension with the facts that its build recorded, or the reason why there is none."""

    module: ModuleType | None
    missing: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    broken: bool = False
    """Whether there is one, but it cannot be used; `missing` says why, and what helps."""

    @property
    def present(self) -> bool:
        """Whether there is one: its ops run on it, or are refused."""
        return self.module is not None or self.broken


def _load(name: str) -> Extension:
    # In this folder alone: an editable installation would offer that of another source tree.
    found = PathFinder.find_spec(name, [str(PACKAGE)])
    if found is None:
        return Extension(None, f"{name.rpartition('.')[2]} is not built")
    file = Path(found.origin or "")
    if (cut := _cut_off(file)) is not None:
        return Extension(None, f"{file} is cut off: {cut}; {REBUILD}", broken=True)
    try:
        module = importlib.import_module(name)
        return Extension(module, facts=json.loads(module.facts()))
    except (ImportError, OSError, ValueError, RuntimeError, AttributeError) as error:
        said = " ".join(str(error).split())
        # A wrong variable is refused by the extension, in words that name it.
        variable = said.partition(":")[0]
        helps = f"unset {variable}, or set it to one of these" if variable in os.environ else REBUILD
        named = said if str(file) in said or variable in os.environ else f"{file}: {said}"
        return Extension(None, f"{named}; {helps}", broken=True)


def _cut_off(file: Path) -> str | None:
    """How much of a shared library is missing at its end: loading it would end the process by a bus error."""
    with file.open("rb") as stream:
        head, size = stream.read(64), file.stat().st_size
        if size < 64:
            return f"it has {size} bytes"
        if not head.startswith(ELF_64):
            return None  # of a kind that this does not read; the loader says if it is none
        # Where the tables of segments and sections begin, and the size and number of their entries.
        segments, sections = struct.unpack_from("<QQ", head, 32)
        segment_size, segment_count, section_size, section_count = struct.unpack_from("<HHHH", head, 54)
        stream.seek(segments)
        table = stream.read(segment_size * segment_count)
    ends = [segments + segment_size * segment_count, sections + section_size * section_count]
    for start in range(0, len(table) - SEGMENT + 1, max(segment_size, SEGMENT)):
        offset, _, _, in_file = struct.unpack_from("<4Q", table, start + 8)
        ends.append(offset + in_file)
    return f"it has {size:,} of {max(ends):,} bytes" if max(ends) > size else None


def _load_cuda() -> Extension:
    if torch.version.cuda is None:
        return Extension(None, "this torch is built without CUDA")
    return _load("base_fast._C_cuda")


CPU = _load("base_fast._C")
CUDA = _load_cuda()
