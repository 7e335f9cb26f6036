"""Learn a prior over weights and architectures from many tasks (Algorithm 1 of Shaw et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.meta import MetaConfig, MetaTrainer
from base_fast.tasks import TaskConfig, open_tasks


@dataclass(frozen=True)
class MetaTrainSettings:
    """What is learned, and from which tasks."""

    meta: MetaConfig = MetaConfig()
    tasks: TaskConfig = TaskConfig()


@dataclass(frozen=True)
class MetaTrain(RunCommand):
    """Leaves the prior in RUN/posterior.safetensors."""

    Settings: ClassVar = MetaTrainSettings
    settings: Annotated[MetaTrainSettings, Flat] = MetaTrainSettings()

    def execute(self) -> int:
        run = self.open_run("meta-train", self.settings)
        trainer = MetaTrainer(self.settings.meta)
        prior = trainer.fit(open_tasks(self.settings.tasks), run=run)
        prior.save(run.path / "posterior.safetensors")
        run.write_json("space", prior.space.to_dict())
        rows = [row for row in run.rows("meta")]
        print(
            f"{run.path}: {rows[-1]['step'] + 1} meta-iterations, inner loss {rows[-1]['loss_first']:.3f} → "
            f"{rows[-1]['loss_last']:.3f} (ln classes {rows[-1]['ln_classes']:.3f}); prior in posterior.safetensors"
        )
        return 0
