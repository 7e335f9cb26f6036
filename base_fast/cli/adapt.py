"""Adapt a saved posterior to a data set: the inner loop alone, until its budget is spent."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand, required
from base_fast.cli.derive import print_derivation, write_derivation
from base_fast.meta import AdaptConfig, PlayOffConfig, Rule, Variables, adapt, derived
from base_fast.meta.variables import for_task
from base_fast.posterior import Posterior
from base_fast.supernet import Supernet
from base_fast.tasks import TargetConfig, open_target


@dataclass(frozen=True)
class AdaptSettings:
    """How to adapt, and to what."""

    adapt: AdaptConfig = AdaptConfig()
    rule: Rule = "play_off"
    """How the genotype is derived: by a play-off of the most probable cells, or read off q(z) as `derive` does."""
    play_off: PlayOffConfig = PlayOffConfig()
    """Rounds of the play-off."""
    target: TargetConfig = TargetConfig()


@dataclass(frozen=True)
class Adapt(RunCommand):
    """Leaves the adapted posterior in RUN/posterior.safetensors and its genotype in RUN/genotype.json."""

    posterior: Path | None = None
    """The prior: posterior.safetensors of a meta-training."""
    Settings: ClassVar = AdaptSettings
    settings: Annotated[AdaptSettings, Flat] = AdaptSettings()

    def execute(self) -> int:
        path = required("posterior", self.posterior, "a posterior.safetensors")
        prior = Posterior.load(path)
        target = open_target(self.settings.target)
        for_task(Supernet.for_posterior(prior), Variables.of(prior), self.settings.adapt.inner.head, target.num_classes)
        with self.open_run("adapt", self.settings, target, posterior=sha256(path.read_bytes()).hexdigest()) as run:
            run.write("space", prior.space)
            result = adapt(prior, target, self.settings.adapt, run=run)
            result.posterior.save(run.path / "posterior.safetensors")
            settings = self.settings
            derivation = derived(result, target, settings.rule, settings.play_off, settings.adapt, run)
            write_derivation(run, derivation)
            run.write("results", result.record)
            first = result.history[0]["accuracy"]
            print(
                f"{run.path}: {result.steps} steps in {result.seconds:.1f} s (stopped by {result.stopped}), validation "
                f"accuracy {100 * first:.1f} % → {100 * result.accuracy:.1f} %; posterior in posterior.safetensors"
            )
            print_derivation(derivation, Supernet.for_posterior(result.posterior).used_cell_types)
        return 0
