"""Derived networks: from a genotype to a trained, measured classifier."""

from __future__ import annotations

from base_fast.evaluation.classifier import Classifier, Inputs, load_network, save_network
from base_fast.evaluation.config import NetworkConfig
from base_fast.evaluation.counts import MacCount, Timing, count_macs, count_parameters, measure_latency
from base_fast.evaluation.network import Network, initialize
from base_fast.evaluation.recipe import TrainConfig
from base_fast.evaluation.scores import Evaluation, evaluate
from base_fast.evaluation.training import TrainResult, train, trained

__all__ = [
    "Classifier",
    "Evaluation",
    "Inputs",
    "MacCount",
    "Network",
    "NetworkConfig",
    "Timing",
    "TrainConfig",
    "TrainResult",
    "count_macs",
    "count_parameters",
    "evaluate",
    "initialize",
    "load_network",
    "measure_latency",
    "save_network",
    "train",
    "trained",
]
