"""Who is alive, who failed, who asked to stop: what ranks know of each other while they work or wait."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from torch.distributed.distributed_c10d import Store

from base_fast.errors import RankFailed

# Within so many seconds a rank that lives has written a sign of it.
ROLL_CALL = 2.0


@dataclass(frozen=True)
class Failure:
    """Why the run ends, the same on all ranks: the first that was told. silent: ranks that cannot tell it."""

    text: str
    silent: tuple[int, ...] = ()

    def error(self) -> RankFailed:
        return RankFailed(self.text)


class Watch(threading.Thread):
    """A thread on every rank that writes a sign of life to the common store, and reads there what others told.

    Each rank looks at the next one's sign: the cost is the same on every rank, whatever their number. A rank that was
    killed, stopped or cut off is silent; one that hangs in its work lives, but does not come to an exchange
    (`behind`). A thread, for a rank at work computes for minutes without a look at the store.

    Args:
        store, own: two connections to the common store, one for this thread.
        silence: seconds without a sign after which a rank is given up.
    """

    def __init__(self, store: Store, own: Store, rank: int, world: int, silence: float) -> None:
        super().__init__(name="base_fast watch", daemon=True)
        self._store, self._own, self.rank, self.world, self._silence = store, own, rank, world, silence
        # So that a thousand ranks ask the store for no more than it can do.
        self._pause = max(0.25, world / 500)
        self._over = threading.Event()
        self._asked = False
        self.counts: dict[str, int] = {}
        self.given_up = ""
        self.failure: Failure | None = None
        self.failed_at = self.stopping_at = float("inf")

    @property
    def stopping(self) -> bool:
        """Whether a rank was asked to stop."""
        return self._asked or self.stopping_at < float("inf")

    def ask_to_stop(self) -> None:
        """Tell all ranks; safe in a signal handler, for the thread does it."""
        self._asked = True

    def give_up(self, place: str) -> None:
        """Tell the other ranks that what leads to an exchange is of no use any more: they may come to it at once."""
        with suppress(RuntimeError):
            self._store.set("given up", place)

    def arrive(self, engine: str) -> None:
        """This rank comes to the next exchange of an engine."""
        self.counts[engine] = self.counts.get(engine, 0) + 1

    def fail(self, text: str, silent: Sequence[int] = ()) -> Failure:
        """Tell all ranks why the run ends; if one told before, that is it."""
        mine = Failure(text, tuple(silent))
        try:
            said = self._store.compare_set("failure", "", json.dumps(asdict(mine)))
            self._note(_failure(said))
        except RuntimeError:
            self._note(mine)
        assert self.failure is not None
        return self.failure

    def heard(self) -> Failure | None:
        """What another rank told, as of now."""
        with suppress(RuntimeError):
            if self.failure is None and self._store.check(["failure"]):
                self._note(_failure(self._store.get("failure")))
        return self.failure

    def silent(self, ranks: Sequence[int]) -> list[int]:
        """Those of the ranks that neither give a sign of life now nor left in order."""
        before = {r: self._sign(r) for r in ranks if r != self.rank}
        time.sleep(max(ROLL_CALL, 4 * self._pause))
        return [r for r, sign in before.items() if sign != "left" and self._sign(r) == sign]

    def behind(self, ranks: Sequence[int], engine: str) -> list[int]:
        """Those of the ranks that did not come to the exchange that this one is at."""
        own = self.counts.get(engine, 0)
        return [r for r in ranks if r != self.rank and _count(self._sign(r), engine) < own]

    def left(self, ranks: Sequence[int]) -> list[int]:
        """Those of the ranks that left in order."""
        return [r for r in ranks if self._sign(r) == "left"]

    def pause(self) -> None:
        """Wait for as long as others need for a sign of life."""
        time.sleep(self._pause)

    def leave(self) -> None:
        """No more signs of life: this rank has nothing more to do with the others."""
        self._over.set()
        if self.is_alive():
            self.join(timeout=5.0)
        with suppress(RuntimeError):
            self._store.set(f"sign/{self.rank}", "left")

    def run(self) -> None:
        next_rank, number, told = (self.rank + 1) % self.world, 0, False
        sign, changed, last = "", time.monotonic(), time.monotonic()
        while not self._over.is_set():
            number += 1
            try:
                self._own.set(f"sign/{self.rank}", json.dumps([number, dict(self.counts)]))
                if self._asked and not told:
                    self._own.set("stop", str(self.rank))
                    told = True
                if self.stopping_at == float("inf") and self._own.check(["stop"]):
                    self.stopping_at = time.monotonic()
                if self._own.check(["given up"]):
                    self.given_up = self._own.get("given up").decode()
                if self.failure is None and self._own.check(["failure"]):
                    self._note(_failure(self._own.get("failure")))
                found = self._own.get(f"sign/{next_rank}").decode() if self._own.check([f"sign/{next_rank}"]) else ""
            except RuntimeError as error:
                if not self._over.is_set():
                    what = " ".join(str(error).split())[:200]
                    self._note(Failure(f"the launcher, or rank 0, is gone: its store does not answer ({what})", (0,)))
                return
            now = time.monotonic()
            # Whoever slept itself, as a suspended job does, knows nothing of others' silence.
            if found != sign or now - last > self._silence / 2:
                sign, changed = found, now
            last = now
            if found != "left" and now - changed > self._silence:
                self.fail(f"rank {next_rank} gave no sign of life for {self._silence:.0f} s: {SILENT}", [next_rank])
            self._over.wait(self._pause)

    def _sign(self, rank: int) -> str:
        try:
            name = f"sign/{rank}"
            return self._store.get(name).decode() if self._store.check([name]) else ""
        except RuntimeError:
            return ""

    def _note(self, failure: Failure) -> None:
        if self.failure is None:
            self.failure, self.failed_at = failure, time.monotonic()


SILENT = "it was stopped, or its machine is lost"


def _failure(text: bytes) -> Failure:
    found = json.loads(text)
    return Failure(found["text"], tuple(found["silent"]))


def _count(sign: str, engine: str) -> int:
    return int(json.loads(sign)[1].get(engine, 0)) if sign.startswith("[") else 0


def told(ranks: Sequence[int]) -> str:
    """rank 1; ranks 1, 2."""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
