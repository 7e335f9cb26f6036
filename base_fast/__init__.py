"""base_fast: fast, small Bayesian meta architecture search (BASE; Shaw, Wei, Liu, Song, Dai, NeurIPS 2019).

import base_fast as bf

prior = bf.MetaTrainer(bf.MetaConfig()).fit(tasks)      # learn a prior over weights and architectures
found = bf.adapt(prior, task)                           # adapt it to a new data set
cells = bf.derive(found.posterior).genotype             # read an architecture off the posterior
network = bf.Network(cells, channels=36, layers=20, num_classes=10)
"""

from __future__ import annotations

from base_fast import distributions, nn, objectives, ops, random, space, strategies
from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.evaluation import Network, count_macs, count_parameters, evaluate, load_network, train
from base_fast.meta import Adaptation, AdaptConfig, Budget, InnerConfig, MetaConfig, MetaTrainer, OuterConfig, adapt
from base_fast.ops import backends
from base_fast.posterior import Derivation, Layout, Posterior, derive
from base_fast.runs.provenance import package_version
from base_fast.strategies import search
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.tasks import Task, TaskDistribution, from_dataset, open_source, whole_task

__version__ = package_version() or "0+unknown"

__all__ = [
    "AdaptConfig",
    "Adaptation",
    "Budget",
    "Derivation",
    "Diverged",
    "InnerConfig",
    "InputError",
    "Interrupted",
    "Layout",
    "MetaConfig",
    "MetaTrainer",
    "Network",
    "OuterConfig",
    "Posterior",
    "Supernet",
    "SupernetConfig",
    "Task",
    "TaskDistribution",
    "adapt",
    "backends",
    "count_macs",
    "count_parameters",
    "derive",
    "distributions",
    "evaluate",
    "from_dataset",
    "load_network",
    "nn",
    "objectives",
    "open_source",
    "ops",
    "random",
    "search",
    "space",
    "strategies",
    "train",
    "whole_task",
]
