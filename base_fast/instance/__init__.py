"""Networks that choose their blocks for every image (InstaNAS): meta-graph, controller, training, curve."""

from __future__ import annotations

from base_fast.instance.config import InstanceConfig, MetaGraphConfig, Phase
from base_fast.instance.controller import Controller
from base_fast.instance.costs import Costs, count_costs, time_costs
from base_fast.instance.meta_graph import MetaGraph
from base_fast.instance.network import InstanceNetwork, load_instance, save_instance
from base_fast.instance.record import InstanceRecord, judged
from base_fast.instance.static import agreement, best_static
from base_fast.instance.training import InstanceTraining, train_instance

__all__ = [
    "Controller",
    "Costs",
    "InstanceConfig",
    "InstanceNetwork",
    "InstanceRecord",
    "InstanceTraining",
    "MetaGraph",
    "MetaGraphConfig",
    "Phase",
    "agreement",
    "best_static",
    "count_costs",
    "judged",
    "load_instance",
    "save_instance",
    "time_costs",
    "train_instance",
]
