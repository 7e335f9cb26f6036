"""Train a network that chooses its blocks for every image, for accuracy at little latency (InstaNAS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.instance import InstanceConfig, InstanceNetwork, InstanceTraining, judged, save_instance, train_instance
from base_fast.instance.network import FILE
from base_fast.random import fold_in, key
from base_fast.reports import print_table
from base_fast.reports.tables import instance_table
from base_fast.tasks import TargetConfig, open_target


@dataclass(frozen=True)
class InstanceSettings:
    """The network and its phases, and the data."""

    instance: InstanceConfig = InstanceConfig()
    target: TargetConfig = TargetConfig()


@dataclass(frozen=True)
class TrainInstance(RunCommand):
    """Leaves meta-graph and controller in RUN/instance.safetensors, and what they came to on the validation images in
    RUN/results.json."""

    Settings: ClassVar = InstanceSettings
    settings: Annotated[InstanceSettings, Flat] = InstanceSettings()

    def execute(self) -> int:
        config, task = self.settings.instance, open_target(self.settings.target)
        network = InstanceNetwork(*config.graph.build(task.num_classes, config.seed))
        process = InstanceTraining(network, task, config)
        with self.open_run("train-instance", self.settings, task) as run:
            costs = train_instance(process, run)
            save_instance(run.path / FILE, network, config.graph, task.class_names)
            unit = "ms" if config.cost == "latency" else "MACs"
            record = judged(network, task.valid, costs, unit, config.total, fold_in(key(config.seed), 9))
            run.write("results", record)
            print_table(instance_table(record))
            print(f"{run.path / FILE}: {record.steps} steps, {record.parameters:,} parameters")
        return 0
