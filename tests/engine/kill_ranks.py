"""Runs of several processes of which one, or all, are killed at a random moment: none is lost.

    python -m tests.engine.kill_ranks --tries 20

The others get SIGTERM then, as torchrun sends it, and the run goes on with another number of processes, to the bits of
a run of one that nothing happened to. Linux only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from tests.engine import faults

from tests import kill  # isort: skip

PROCESSES = 2


def ranks(words: list[str], log: Path, world: int, hit: list[int], after: float) -> list[int]:
    """Run a command in so many processes, of which some are killed after so many seconds of work; the statuses."""
    port = faults.free_port()
    children = [faults.start(words, rank, port, log, None, world) for rank in range(world)]
    states: dict[int, int] = {}
    told: float | None = None
    while len(states) < world:
        time.sleep(0.002)
        for rank, child in enumerate(children):
            if rank not in states:
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    states[rank] = os.waitstatus_to_exitcode(status)
        left = [children[rank] for rank in range(world) if rank not in states]
        if hit and told is None and hit[0] not in states and kill.seconds_of(children[hit[0]]) >= after:
            for rank in hit:
                if rank not in states:
                    os.kill(children[rank], signal.SIGKILL)
            told = time.monotonic()
            for rank in set(range(world)) - set(hit) - states.keys():
                os.kill(children[rank], signal.SIGTERM)
        if told is not None and time.monotonic() - told > 60.0:
            for child in left:
                os.kill(child, signal.SIGKILL)
            raise AssertionError(f"{left} hang after {hit} were killed\n{log.read_text()}")
    return [states[rank] for rank in range(world)]


def check(tries: int, seed: int, folder: Path) -> None:
    """Raise AssertionError when a run that was hit does not go on to the same bits."""
    drawn = random.Random(seed)
    config, log, whole = folder / "meta.toml", folder / "log", folder / "whole"
    config.write_text(faults.settings())
    words = ["meta-train", "--config", str(config), "--run"]
    status, _ = kill.run([*words, str(whole)], log)
    assert status == 0, log.read_text()
    began = time.process_time(), os.times().children_user
    assert ranks([*words, str(folder / "again")], log, PROCESSES, [], 0.0) == [0] * PROCESSES, log.read_text()
    length = (os.times().children_user - began[1]) / PROCESSES
    assert kill.difference(whole, folder / "again") is None
    print(f"{length:.1f} s of work a process", flush=True)
    for i in range(tries):
        path = folder / f"hit{i}"
        command = [*words, str(path), "--resume"]
        hit = drawn.choice([[0], [1], [0, 1]])
        after = drawn.uniform(0.0, length)
        states = ranks(command, log, PROCESSES, hit, after)
        # Finished before; killed; or ended in order: by the signal, by the loss of the other, before it had a handler.
        assert all(state in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM) for state in states), (
            f"{states}\n{log.read_text()}"
        )
        world = drawn.choice([1, 2, 3])
        if world == 1:
            status, _ = kill.run(command, log)
            assert status == 0, log.read_text()
        else:
            assert ranks(command, log, world, [], 0.0) == [0] * world, log.read_text()
        differs = kill.difference(whole, path)
        killed = " and ".join(map(str, hit))
        print(
            f"{i}: killed {killed} after {after:.2f} s: {states}; {world} went on: {differs or 'same bits'}", flush=True
        )
        assert differs is None, f"{differs} differs"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        check(given.tries, given.seed, Path(temporary))
