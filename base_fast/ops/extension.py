"""The compiled extensions beside the package: `_C` (CPU) and `_C_cuda`.

A missing one is no error: its ops run on the next kernel that `backends()` names. A broken one is: it would turn a
failed build into a silent loss of speed.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


@dataclass(frozen=True)
class Extension:
    """A loaded extension with the facts that its build recorded, or the reason why there is none."""

    module: ModuleType | None
    missing: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def _load(name: str) -> Extension:
    # In this folder alone: an editable installation would offer that of another source tree.
    if PathFinder.find_spec(name, [str(Path(__file__).parents[1])]) is None:
        return Extension(None, f"{name.rpartition('.')[2]} is not built")
    module = importlib.import_module(name)
    return Extension(module, facts=json.loads(module.facts()))


def _load_cuda() -> Extension:
    if torch.version.cuda is None:
        return Extension(None, "this torch is built without CUDA")
    return _load("base_fast._C_cuda")


CPU = _load("base_fast._C")
CUDA = _load_cuda()
