"""The peak memory of a process that does one contender's work and nothing else.

What counts: the largest resident size of a fresh process during three calls, less its largest resident size once
everything was imported, the set-up made and the call built. So the interpreter, PyTorch and the inputs are left out,
and what libraries allocate by themselves is in. The allocator is left as it is, for users have it so.
"""

from __future__ import annotations

import importlib
import subprocess
import sys

import torch

from base_fast.runs.memory import largest_resident
from benchmarks.case import Case

CALLS = 3


def measure(case: Case, contender: str, quick: bool) -> int:
    """Bytes; the case is found again, in the new process, as a module's."""
    index = importlib.import_module(f"benchmarks.{case.op}").CASES.index(case)
    command = [sys.executable, "-m", "benchmarks.process_memory", case.op, str(index), contender]
    threads = str(torch.get_num_threads())
    done = subprocess.run([*command, threads, str(int(quick))], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def main(op: str, index: str, contender: str, threads: str, quick: str) -> None:
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    case: Case = importlib.import_module(f"benchmarks.{op}").CASES[int(index)]
    run = case.contenders[contender].build(case.setup(**(case.quick if int(quick) else case.sizes)))
    before = largest_resident()
    for _ in range(CALLS):
        run()
    print(largest_resident() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
