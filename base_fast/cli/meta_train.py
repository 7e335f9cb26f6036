"""Learn a prior over weights and architectures from many tasks (Algorithm 1 of Shaw et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.cli.derive import write_derivation
from base_fast.errors import Diverged
from base_fast.meta import MetaConfig, MetaTrainer
from base_fast.posterior import Posterior, derive
from base_fast.runs import RunFolder
from base_fast.tasks import TaskConfig, open_tasks


@dataclass(frozen=True)
class MetaTrainSettings:
    """What is learned, and from which tasks."""

    meta: MetaConfig = MetaConfig()
    tasks: TaskConfig = TaskConfig()


@dataclass(frozen=True)
class MetaTrain(RunCommand):
    """Leaves the prior in RUN/posterior.safetensors."""

    start: Path | None = None
    """A prior to continue from: posterior.safetensors of another run."""
    Settings: ClassVar = MetaTrainSettings
    settings: Annotated[MetaTrainSettings, Flat] = MetaTrainSettings()

    def execute(self) -> int:
        tasks = open_tasks(self.settings.tasks)
        trainer = MetaTrainer(self.settings.meta)
        start = None if self.start is None else Posterior.load(self.start)
        inputs = {} if self.start is None else {"start": sha256(self.start.read_bytes()).hexdigest()}
        with self.open_run("meta-train", self.settings, tasks, **inputs) as run:
            run.write("space", trainer.supernet.space)
            try:
                prior = trainer.fit(tasks, run=run, start=start)
            except Diverged as error:
                raise Diverged(f"{error}{_keep(trainer.last_good(run), run)}") from None
            prior.save(run.path / "posterior.safetensors")
            write_derivation(run, derive(prior))
            rows = run.rows("meta")
        print(
            f"{run.path}: {rows[-1]['step'] + 1} meta-iterations, inner loss {rows[-1]['loss_first']:.3f} → "
            f"{rows[-1]['loss_last']:.3f} (ln classes {rows[-1]['ln_classes']:.3f}); prior in posterior.safetensors"
        )
        return 0


def _keep(prior: Posterior | None, run: RunFolder) -> str:
    """Save the last good prior where another run can start from it, and say so."""
    if prior is None:
        return ""
    path = run.path / "last_good.safetensors"
    prior.save(path)
    return f"; another run, with other settings, continues from it with --start {path}"
