"""Commands in fresh processes, a few at a time: each has its peak of memory for itself, and all cores are at work."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from base_fast.errors import InputError, Interrupted
from base_fast.runs import interruptible
from base_fast.runs.lock import hold

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Job:
    """A command that fills a run folder.

    Attributes:
        name: for messages.
        words: the command, which stops in order at SIGTERM.
        folder: its run folder, which may not exist yet.
        log: where its output is appended.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    log: Path


def run_jobs(jobs: Sequence[Job], at_once: int) -> Iterator[tuple[Job, int]]:
    """Run jobs in their order, at most so many at once; each with its exit status as it ends.

    A job whose folder another process works in, such as one that a killed comparison left behind, begins when that
    process has ended: what it does is not lost.

    Raises:
        Interrupted: SIGINT or SIGTERM; the jobs under way were told to stop, and have ended.
    """
    waiting, running = list(jobs), dict[Job, subprocess.Popen[bytes]]()
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(torch.get_num_threads() // at_once, 1))}
    with interruptible() as interruption:
        try:
            while waiting or running:
                if interruption.requested:
                    raise Interrupted(f"comparison: stopped with {len(waiting) + len(running)} searches to go")
                for job in [job for job in waiting if not _busy(job.folder)][: at_once - len(running)]:
                    waiting.remove(job)
                    running[job] = _start(job, environment)
                ended = {job: status for job, process in running.items() if (status := process.poll()) is not None}
                for job, status in ended.items():
                    del running[job]
                    yield job, status
                if not ended:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        except BaseException:
            for process in running.values():
                process.terminate()
            try:
                for process in running.values():
                    process.wait()
            except KeyboardInterrupt:
                for process in running.values():
                    process.kill()
                raise
            raise


def last_words(log: Path) -> str:
    """The last line that a job wrote, which says why it failed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _start(job: Job, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        # In a session of its own: Ctrl-C reaches this process alone, which then tells the others once.
        return subprocess.Popen(
            job.words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _busy(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        hold(folder / ".lock", "busy").close()
    except InputError:
        return True
    return False
