"""Run folders: what a run was told, what it measured, and what it needs to go on.

Imports nothing of the algorithm, so any layer above can keep its results here.
"""

from __future__ import annotations

from base_fast.runs.changeable import changeable, unchangeable
from base_fast.runs.config_files import from_dict, load_config, save_config, to_dict
from base_fast.runs.folder import RunFolder
from base_fast.runs.interruption import Interruption, interruptible, to_be_left
from base_fast.runs.json_files import read_json
from base_fast.runs.loop import Clock, Finished, Resumable, Step, matching, run_loop
from base_fast.runs.progress import Progress, progress
from base_fast.runs.storage import atomic_write, load_tensors, save_tensors

__all__ = [
    "Clock",
    "Finished",
    "Interruption",
    "Progress",
    "Resumable",
    "RunFolder",
    "Step",
    "atomic_write",
    "changeable",
    "from_dict",
    "interruptible",
    "load_config",
    "load_tensors",
    "matching",
    "progress",
    "read_json",
    "run_loop",
    "save_config",
    "save_tensors",
    "to_be_left",
    "to_dict",
    "unchangeable",
]
