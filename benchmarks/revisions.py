"""Times this checkout against another revision of the project: `python -m benchmarks.revisions OTHER_CHECKOUT`.

The other checkout has its environment in `.venv` and its extension built (`make install` there). A process of each
revision sets up the same inputs from the same seed; their results are compared bit for bit, then they take turns, round
by round in random order, so that whatever slows the machine slows both.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.revision_worker import cases
from benchmarks.timing import Spread, ratios

HERE = Path(__file__).resolve().parents[1]
# A round calls a case for about this many seconds.
ROUND = 0.1


@dataclass(frozen=True)
class Row:
    """A case: milliseconds here and there, how many times there's time is here's, and whether all bits are equal."""

    case: str
    here: Spread
    there: Spread
    speedup: Spread
    same_bits: bool


class Worker:
    """A process of one revision; of this one where `checkout` is HERE."""

    def __init__(self, checkout: Path) -> None:
        own = checkout / ".venv" / "bin" / "python"
        python = sys.executable if checkout == HERE else str(own)
        if checkout != HERE and not own.exists():
            raise SystemExit(f"{checkout}: no environment in .venv; run make install there")
        # Its package before any that is installed, and not this checkout's.
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
        script = str(HERE / "benchmarks" / "revision_worker.py")
        self._process = subprocess.Popen(
            [python, script], cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of {self._process.args!r} ended at {request}")
        return json.loads(answer)

    def set_up(self, case: str, quick: bool) -> str:
        """Make a case's inputs; a hash of its results."""
        return str(self._ask(case=case, quick=quick)["digest"])

    def seconds(self, calls: int) -> float:
        """Seconds per call, over `calls` calls."""
        return float(self._ask(calls=calls)["seconds"])


def compare(here: Worker, there: Worker, case: str, quick: bool, rounds: int) -> Row:
    """Set a case up on both sides, compare the results, and let them take turns."""
    same = here.set_up(case, quick) == there.set_up(case, quick)
    sides = {"here": here, "there": there}
    calls = max(1, math.ceil(ROUND / max(here.seconds(2), there.seconds(2))))
    times: dict[str, list[float]] = {name: [] for name in sides}
    order = random.Random(case)
    for _ in range(rounds):
        for name in order.sample(list(sides), 2):
            times[name].append(1e3 * sides[name].seconds(calls))
    return Row(case, Spread.of(times["here"]), Spread.of(times["there"]), ratios(times["here"], times["there"]), same)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| case | here, ms | there, ms | there / here (10–90 %) | results |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row.speedup.median:.3f} ({row.speedup.low:.3f}–{row.speedup.high:.3f})"
        bits = "same bits" if row.same_bits else "other bits"
        lines.append(f"| {row.case} | {row.here.median:.3g} | {row.there.median:.3g} | {ratio} | {bits} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m benchmarks.revisions", description=__doc__)
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of about a fifth of a second (default 25)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--quick", action="store_true", help="two tiny cases: to see that it works")
    chosen = parser.parse_args(arguments)
    rows = []
    with Worker(HERE) as here, Worker(chosen.other.resolve()) as there:
        for case in cases(chosen.quick):
            if chosen.only in case:
                rows.append(compare(here, there, case, chosen.quick, chosen.rounds))
                print(table(rows).splitlines()[-1], flush=True)
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
