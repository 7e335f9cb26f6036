"""Processes that call one function: order, errors, and their end."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from base_fast.errors import Diverged, InputError
from base_fast.runs.workers import Workers


def answer(number: int) -> str:
    if number == 2:
        raise Diverged(f"a: {number}")
    return f"a{number}"


@pytest.mark.parametrize("processes", [0, 2])
def test_workers_answer_in_order_and_pass_errors_on(processes: int) -> None:
    with Workers(answer, processes, method="spawn") as workers:
        answers = [workers.submit(number) for number in (1, 2, 3)]
        assert workers.result(answers[0]) == "a1"
        with pytest.raises(Diverged, match="a: 2"):
            workers.result(answers[1])
        assert workers.result(answers[2]) == "a3"


def test_workers_end_in_the_middle_of_what_is_of_no_more_use() -> None:
    with Workers(time.sleep, 1) as workers:
        workers.result(workers.submit(0))
        future = workers.submit(60)
        while not future.running():
            time.sleep(0.01)
        time.sleep(0.1)
    assert isinstance(future.exception(), BrokenProcessPool)


def die(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told() -> None:
    with Workers(die, 1) as pool, pytest.raises(InputError, match="one of 1 processes was killed"):
        list(pool.map_in_order([1, 2]))
