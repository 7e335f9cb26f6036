"""Searches, one file each: all are resumable computations that end in a distribution over genotypes."""

from __future__ import annotations

from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.strategies.ask_tell import AskTellSearch
from base_fast.strategies.auxiliary_skip import AuxiliarySkip
from base_fast.strategies.base import Base, BaseSearch
from base_fast.strategies.collapse import SkipMonitor
from base_fast.strategies.config import (
    AskTellConfig,
    SearchConfig,
    SearchSettings,
    StrategiesConfig,
    open_search,
    search_task,
)
from base_fast.strategies.darts import Darts, DartsSecondOrder
from base_fast.strategies.dpp_net import DppNet
from base_fast.strategies.drnas import DrNas
from base_fast.strategies.enas import Enas
from base_fast.strategies.enas_sharing import EnasSharing, EnasSharingSearch
from base_fast.strategies.evolution import Evolution
from base_fast.strategies.gdas import Gdas
from base_fast.strategies.metered import Cost, Metered
from base_fast.strategies.nao import Nao
from base_fast.strategies.nao_sharing import NaoSharing, NaoSharingSearch
from base_fast.strategies.nsga2 import Nsga2
from base_fast.strategies.one_shot import GradientSearch, GradientStrategy
from base_fast.strategies.parsec import Parsec, ParsecSearch
from base_fast.strategies.pc_darts import PcDarts
from base_fast.strategies.perturbation import Perturbation
from base_fast.strategies.policy_gradient import PolicyGradient
from base_fast.strategies.projection import ProjectedSearch, Projection
from base_fast.strategies.random_search import RandomSearch
from base_fast.strategies.random_sharing import RandomSharing, RandomSharingSearch
from base_fast.strategies.record import SearchRecord, read_cost, read_search, write_search
from base_fast.strategies.reinforce import Reinforce
from base_fast.strategies.sampled import Sampled
from base_fast.strategies.snas import Snas
from base_fast.strategies.strategy import AskTell, OneShot, Result, Strategy, Weighing, search
from base_fast.strategies.surrogate import Surrogate

__all__ = [
    "AskTell",
    "AskTellConfig",
    "AskTellSearch",
    "AuxiliarySkip",
    "Base",
    "BaseSearch",
    "Cost",
    "Darts",
    "DartsSecondOrder",
    "DppNet",
    "DrNas",
    "Enas",
    "EnasSharing",
    "EnasSharingSearch",
    "Evolution",
    "Gdas",
    "GradientSearch",
    "GradientStrategy",
    "Metered",
    "Nao",
    "NaoSharing",
    "NaoSharingSearch",
    "Nsga2",
    "OneShot",
    "Parsec",
    "ParsecSearch",
    "PcDarts",
    "Perturbation",
    "PolicyGradient",
    "ProjectedSearch",
    "Projection",
    "RandomSearch",
    "RandomSharing",
    "RandomSharingSearch",
    "Reinforce",
    "Result",
    "Sampled",
    "SearchConfig",
    "SearchRecord",
    "SearchSettings",
    "SharedTraining",
    "SharedTrainingConfig",
    "SkipMonitor",
    "Snas",
    "StrategiesConfig",
    "Strategy",
    "Surrogate",
    "Weighing",
    "open_search",
    "read_cost",
    "read_search",
    "search",
    "search_task",
    "write_search",
]
