"""Work on many processes: tasks are mapped to them, and what comes back does not depend on how many there are.

from base_fast.engine import current, launched

with launched():                        # what torchrun started becomes one engine; alone, this does nothing
    current().map(tasks, function)      # results in the tasks' order, on every process
"""

from __future__ import annotations

from base_fast.engine.engine import Engine, Local, abandoned, alone, ask_to_stop, current, using
from base_fast.engine.fold import TreeMean, even_parts, tree_mean
from base_fast.engine.launch import broken, launched, restarted
from base_fast.engine.meter import METER, Meter, metered

__all__ = [
    "METER",
    "Engine",
    "Local",
    "Meter",
    "TreeMean",
    "abandoned",
    "alone",
    "ask_to_stop",
    "broken",
    "current",
    "even_parts",
    "launched",
    "metered",
    "restarted",
    "tree_mean",
    "using",
]
