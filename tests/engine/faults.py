"""What happens to runs of two processes when one of them dies, stops, fails or is told to end: what the user reads, how
long it took, and that the run goes on afterwards to the bits of one that nothing happened to.

    python -m tests.engine.faults [FAULT ...]

The processes are children that this one forks after all imports, with the environment that a launcher sets; a fault
happens to real processes; errors in a task and a full disk are put into the program of one rank.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Imported for its imports, and because threads do not survive a fork: it sets the number of threads.
from tests import kill

import base_fast.meta.trainer  # isort: skip
import base_fast.runs.storage
from base_fast.errors import Diverged

TIMEOUT = 6.0
WORLD = 2


@dataclass(frozen=True)
class Fault:
    """Something that happens to one rank after so many rows: a signal, or a change of its program before it starts."""

    said: str
    """In the one message."""
    rank: int = 1
    number: int = 0
    program: Callable[[], None] | None = None
    status: int = 1
    speaks: int = 0
    """The rank whose message it is."""
    limit: float = 2 * TIMEOUT
    """Seconds from the fault to the end of all others."""
    inner_steps: int = 2


def raising(error: Exception, at: int) -> Callable[[], None]:
    """A program whose task number `at` fails."""

    def change() -> None:
        real, calls = base_fast.meta.trainer.task_gradient, [0]

        def failing(*arguments: object) -> object:
            calls[0] += 1
            if calls[0] == at:
                raise error
            return real(*arguments)  # type: ignore[arg-type]

        base_fast.meta.trainer.task_gradient = failing  # type: ignore[assignment]

    return change


def full_disk() -> None:
    """A program whose disk is full after a few files."""
    real, calls = os.fsync, [0]

    def failing(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    os.fsync = failing


FAULTS = {
    "killed": Fault("rank 1 died", number=signal.SIGKILL),
    "rank 0 killed": Fault("rank 0", rank=0, number=signal.SIGKILL, speaks=1),
    "stopped": Fault("rank 1", number=signal.SIGSTOP),
    "SIGTERM": Fault("resume with", number=signal.SIGTERM, status=130),
    "Ctrl-C": Fault("resume with", rank=0, number=signal.SIGINT, status=130),
    "SIGTERM in a long step": Fault("resume with", number=signal.SIGTERM, status=130, inner_steps=2000),
    "Diverged": Fault("rank 1: inner step 1: loss nan", program=raising(Diverged("inner step 1: loss nan"), 5)),
    "error": Fault("rank 1: KeyError: 'x'", program=raising(KeyError("x"), 5)),
    "full disk": Fault("No space left on device", rank=0, program=full_disk),
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(
    words: list[str], rank: int, port: int, log: Path, change: Callable[[], None] | None, world: int = WORLD
) -> int:
    """A rank, as a child; what it prints goes to the log."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "BASE_FAST_TIMEOUT": str(TIMEOUT),
        }  # fmt: skip
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if change is not None:
            change()
        status = kill.main(words)
        sys.stdout.flush()
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.stderr.flush()
        status = 1
    finally:
        os._exit(status)


def launch(words: list[str], folder: Path, name: str, fault: Fault | None = None) -> list[Path]:
    """A run of all ranks, with what happens to one of them; its logs. Raises AssertionError where it ends otherwise."""
    port = free_port()
    logs = [folder / f"{name}.{rank}.log" for rank in range(WORLD)]
    programs = [fault.program if fault is not None and fault.rank == rank else None for rank in range(WORLD)]
    children = [start(words, rank, port, logs[rank], programs[rank]) for rank in range(WORLD)]
    began, hit = time.monotonic(), None
    rows = folder / name / "metrics.jsonl"
    states: dict[int, int] = {}
    while len(states) < WORLD:
        time.sleep(0.01)
        for rank, child in enumerate(children):
            if rank not in states:
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    states[rank] = os.waitstatus_to_exitcode(status)
        # In a long step there is no row yet: then it is the folder that shows that the work has begun.
        begun = 2 if fault is not None and fault.inner_steps == 2 else 0
        there = rows.exists() and rows.read_bytes().count(b"\n") >= begun
        there = there or (begun == 0 and (folder / name / "space.json").exists() and time.monotonic() - began > 5.0)
        if fault is not None and fault.number and hit is None and there:
            os.kill(children[fault.rank], fault.number)
            hit = time.monotonic()
        others = [rank for rank in range(WORLD) if fault is None or rank != fault.rank]
        lies = fault is not None and fault.number == signal.SIGSTOP and fault.rank not in states
        if fault is not None and lies and all(rank in states for rank in others):
            os.kill(children[fault.rank], signal.SIGKILL)
        if time.monotonic() - began > 300.0:
            for child in children:
                os.kill(child, signal.SIGKILL)
            raise AssertionError(f"{name} hangs: {states}\n" + "\n".join(log.read_text() for log in logs))
    took = time.monotonic() - (hit or began)
    told = "\n".join(log.read_text() for log in logs)
    if fault is None:
        assert set(states.values()) == {0}, f"{states}\n{told}"
        return logs
    for rank in others if fault.number in (signal.SIGKILL, signal.SIGSTOP) else range(WORLD):
        assert states[rank] == fault.status, f"{states}\n{told}"
    lines = [line for line in logs[fault.speaks].read_text().splitlines() if line.startswith("base-fast ")]
    lines = [line for line in lines if "UserWarning" not in line and "warmup" not in line]
    print(f"{name}: {lines[-1] if lines else 'nothing'} ({took:.1f} s)", flush=True)
    assert len(lines) == 1 and fault.said in lines[0], told
    assert not hit or took < fault.limit + 4.0, f"{took:.1f} s"  # processes take a while to leave a busy machine
    for rank in range(WORLD):
        if rank != fault.speaks:
            assert "base-fast meta-train:" not in logs[rank].read_text(), told
    return logs


def settings(iterations: int = 16, inner_steps: int = 2) -> str:
    """A meta-training of three tasks an iteration, without measured cells: quick, so that faults take the time."""
    text = kill.META.replace(kill.EVIDENCE, 'z = "soft"\n').replace("inner_steps = 2", f"inner_steps = {inner_steps}")
    return text.replace("iterations = 12", f"iterations = {iterations}\ntasks = 3")


def check(names: list[str], folder: Path) -> None:
    """Raise AssertionError for a fault that does not end as it should, or whose run does not go on to the same bits."""
    config = folder / "meta.toml"
    for steps in sorted({FAULTS[name].inner_steps for name in names}):
        config.write_text(settings(inner_steps=steps))
        words = ["meta-train", "--config", str(config), "--run"]
        whole = None
        for name in (name for name in names if FAULTS[name].inner_steps == steps):
            path = folder / name
            launch([*words, str(path)], folder, name, FAULTS[name])
            if steps > 2:
                continue
            if whole is None:
                whole = folder / "whole"
                status, _ = kill.run([*words, str(whole)], folder / "whole.log")
                assert status == 0, (folder / "whole.log").read_text()
            (path / "last_good.safetensors").unlink(missing_ok=True)  # of a run that diverged, for others to start from
            launch([*words, str(path), "--resume"], folder, name)
            differs = kill.difference(whole, path)
            assert differs is None, f"{name}: {differs} differs"
            print(f"{name}: goes on to the same bits", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        check(sys.argv[1:] or list(FAULTS), Path(temporary))
