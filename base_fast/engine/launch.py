"""From what torchrun started to one engine: joining the others, and leaving them, whatever happened."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore

from base_fast.engine import rank_log
from base_fast.engine.distributed import Distributed
from base_fast.engine.engine import Engine, current, using
from base_fast.engine.watch import Watch
from base_fast.errors import Diverged, InputError, Interrupted, RankFailed

# Seconds that ranks wait for each other in an exchange; a step's slowest task must be within it.
DEFAULT_TIMEOUT = 1800.0
# Seconds without a sign of life after which a rank is given up, if that is less.
SILENCE = 30.0
SECONDS_TO_JOIN = 300.0

_broken = False


def restarted() -> bool:
    """Whether torchrun began this process again, after a failure: it then goes on with what there is."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def broken() -> bool:
    """Whether the ranks parted in disorder: exchanges may be under way that nobody will end."""
    return _broken


@contextmanager
def launched() -> Iterator[Engine]:
    """Inside, `current()` is the engine of all processes that torchrun started: RANK, WORLD_SIZE, MASTER_ADDR and
    MASTER_PORT in the environment. A process alone has the engine of one process.

    What ranks other than 0 print goes to a file (see `rank_log`): rank 0 speaks for all. An error of one rank ends all
    of them, with one message. BASE_FAST_TIMEOUT is how long, in seconds, a rank waits for the others in an exchange.

    Raises:
        InputError: the environment is not what a launcher sets, or the others did not come.
        RankFailed: another rank failed, died or does not answer.
    """
    world = _number("WORLD_SIZE", 1)
    if world == 1 or current().world > 1:
        yield current()
        return
    rank = _number("RANK", None)
    timeout = _seconds("BASE_FAST_TIMEOUT", DEFAULT_TIMEOUT)
    # An agent of torchrun keeps the store, and outlives its workers; without one, rank 0 does.
    host = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if rank > 0:
        rank_log.redirect()
    engine = _joined(rank, world, host, timeout)
    try:
        with using(engine):
            yield engine
        engine.gather(None)
    except BaseException as error:
        _part(engine, error, host)
        raise
    engine.watch.leave()
    if host:
        _wait_for_others(engine.watch, world)
    dist.destroy_process_group()


def _joined(rank: int, world: int, host: bool, timeout: float) -> Distributed:
    address, port = os.environ.get("MASTER_ADDR"), _number("MASTER_PORT", None)
    if address is None:
        raise InputError(
            f"MASTER_ADDR: not set, with WORLD_SIZE {world}; expected what torchrun sets, or a host's name"
        )
    if not 0 <= rank < world:
        raise InputError(f"RANK: got {rank}, expected 0 to {world - 1}")
    # Exchanges are watched here: torch.distributed's own limit, which names nobody, comes later.
    join, longest = timedelta(seconds=SECONDS_TO_JOIN), timedelta(seconds=2 * timeout)
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address, port, world, is_master=host, timeout=join, multi_tenant=True
        )
        attempt = PrefixStore(f"base_fast/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        kind = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(_number("LOCAL_RANK", rank) % torch.cuda.device_count())
            kind = "cpu:gloo,cuda:nccl"
        dist.init_process_group(kind, store=attempt, rank=rank, world_size=world, timeout=join + longest)
        # Connections of their own: a wait for a key holds one.
        asked, told = (PrefixStore("watch", attempt.clone()) for _ in range(2))
    except RuntimeError as error:  # the classes of torch.distributed's errors among them
        what = " ".join(str(error).split())[:200]
        raise InputError(
            f"MASTER_ADDR: {address}:{port}: the {world} processes did not come together: {what}"
        ) from None
    for one in (asked, told):
        one.set_timeout(timedelta(seconds=max(min(timeout, 30.0), 5.0)))
    watch = Watch(asked, told, rank, world, min(timeout, SILENCE))
    watch.start()
    return Distributed(dist.group.WORLD, range(world), watch, timeout)


def _part(engine: Distributed, error: BaseException, host: bool) -> None:
    """Leave after an error: tell it to the others, and see who speaks of it."""
    global _broken
    _broken = True
    watch = engine.watch
    if not isinstance(error, (Interrupted, RankFailed)):
        text = str(error) if isinstance(error, (InputError, Diverged, OSError)) else f"{type(error).__name__}: {error}"
        watch.fail(f"rank {watch.rank}: {text}")
        if watch.rank > 0 and not isinstance(error, (InputError, Diverged, OSError, MemoryError, SystemExit)):
            rank_log.say("".join(traceback.format_exception(error)))
    # Rank 0 says it, or, if that cannot, the first that can.
    silent = () if watch.failure is None else watch.failure.silent
    if watch.rank > 0 and watch.rank == next(r for r in range(watch.world) if r not in silent):
        rank_log.restore()
    sys.stdout.flush()
    sys.stderr.flush()
    watch.leave()
    if host:
        _wait_for_others(watch, watch.world)


def _wait_for_others(watch: Watch, world: int) -> None:
    """The store ends with this process: let the others read it first."""
    for _ in range(20):
        if len(watch.left(range(world))) == world:
            return
        watch.pause()


def _number(name: str, default: int | None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise InputError(f"{name}: got {text!r} in the environment, expected an integer, as torchrun sets it") from None


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not found > 0.0:
        raise InputError(f"{name}: got {text!r} in the environment, expected a number of seconds > 0")
    return found
