"""A search as configuration: which strategy, on which objective, and whether the two fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from base_fast.device import resolve
from base_fast.errors import InputError
from base_fast.objectives import ObjectiveConfig, open_objective
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import changeable
from base_fast.space import Space, get_any
from base_fast.strategies.ask_tell import AskTellSearch
from base_fast.strategies.base import Base
from base_fast.strategies.darts import Darts, DartsSecondOrder
from base_fast.strategies.dpp_net import DppNet
from base_fast.strategies.drnas import DrNas
from base_fast.strategies.enas import Enas
from base_fast.strategies.enas_sharing import EnasSharing
from base_fast.strategies.evolution import Evolution
from base_fast.strategies.gdas import Gdas
from base_fast.strategies.nao import Nao
from base_fast.strategies.nao_sharing import NaoSharing
from base_fast.strategies.nsga2 import Nsga2
from base_fast.strategies.parsec import Parsec
from base_fast.strategies.pc_darts import PcDarts
from base_fast.strategies.random_search import RandomSearch
from base_fast.strategies.random_sharing import RandomSharing
from base_fast.strategies.reinforce import Reinforce
from base_fast.strategies.sampled import Sampled
from base_fast.strategies.snas import Snas
from base_fast.strategies.strategy import AskTell, OneShot, Strategy
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.tasks import TargetConfig, Task, open_target


@dataclass(frozen=True)
class AskTellConfig:
    """Settings of the strategies that see values only: a field for each, by its name."""

    random: RandomSearch = RandomSearch()
    evolution: Evolution = Evolution()
    reinforce: Reinforce = Reinforce()
    enas: Enas = Enas()
    nao: Nao = Nao()
    nsga2: Nsga2 = Nsga2()
    dpp_net: DppNet = DppNet()
    sampled: Sampled = Sampled()


@dataclass(frozen=True)
class StrategiesConfig(AskTellConfig):
    """Settings of all strategies: a field for each, by its name."""

    random_sharing: RandomSharing = RandomSharing()
    enas_sharing: EnasSharing = EnasSharing()
    nao_sharing: NaoSharing = NaoSharing()
    base: Base = Base()
    darts: Darts = Darts()
    pc_darts: PcDarts = PcDarts()
    darts_second_order: DartsSecondOrder = DartsSecondOrder()
    snas: Snas = Snas()
    gdas: Gdas = Gdas()
    drnas: DrNas = DrNas()
    parsec: Parsec = Parsec()


@dataclass(frozen=True)
class SearchConfig(StrategiesConfig):
    """A search; of the strategies' settings, only those of the chosen one are looked at."""

    strategy: Literal[
        "random",
        "evolution",
        "reinforce",
        "enas",
        "nao",
        "nsga2",
        "dpp_net",
        "sampled",
        "random_sharing",
        "enas_sharing",
        "nao_sharing",
        "base",
        "darts",
        "pc_darts",
        "darts_second_order",
        "snas",
        "gdas",
        "drnas",
        "parsec",
    ] = "random"
    """random, evolution, reinforce, enas, nao, nsga2, dpp_net, sampled: ask for genotypes and see values (any
    objective). The others train a supernet's weights as well (objective shared_weights)."""
    space: str | Space = "nas_bench_201"
    """nas_bench_201, nas_bench_macro, darts, or one of your own: a `Space`, in a file a table of its fields."""
    queries: int = changeable(150)
    """Genotypes that a strategy may ask for; a repeated one counts, though it is not measured again. A resumed search
    may have more."""
    goals: tuple[str, ...] = ()
    """Quantities to optimize; the objective's first if not given. The others are measured and recorded."""
    free: tuple[str, ...] = ()
    """Quantities that cost nothing to know, such as sizes or a table of latencies: dpp_net looks them up for all
    genotypes that it weighs, before it asks for some."""
    seed: int = 0
    """Seed of everything random."""


@dataclass(frozen=True)
class SearchSettings:
    """A search, what it measures, and on what."""

    search: SearchConfig = SearchConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    supernet: SupernetConfig = SupernetConfig("nas_bench_201")
    """The supernet of a strategy that trains one, where objective.shared_weights names no posterior to start from."""
    target: TargetConfig = TargetConfig()
    """The images, for every objective but a table."""


def search_task(settings: SearchSettings) -> Task | None:
    """The images of a search; None where it looks its values up in a table.

    Raises:
        InputError: see open_target.
    """
    asks = isinstance(getattr(settings.search, settings.search.strategy), AskTell)
    return None if asks and not settings.objective.needs_task else open_target(settings.target)


def open_search(settings: SearchSettings, task: Task | None = None) -> Strategy[Any]:
    """The search that `settings` describe, ready to run.

    Args:
        settings: strategy, objective and data.
        task: what `search_task(settings)` gave, if it was called before.

    Raises:
        InputError: strategy and objective don't fit, or one of them cannot be opened.
    """
    config, objective = settings.search, settings.objective
    strategy: AskTell[Any] | OneShot = getattr(config, config.strategy)
    if isinstance(strategy, AskTell):
        space = get_any(config.space)
        measured = open_objective(objective, space, task or search_task(settings))
        return AskTellSearch(strategy, measured, config.queries, key(config.seed), config.goals, config.free)
    if objective.kinds != ("shared_weights",):
        raise InputError(
            f"strategy: {config.strategy} trains a supernet's weights, which objective {', '.join(objective.kinds)} "
            "lacks; expected kinds = ['shared_weights'], or a strategy that asks for genotypes"
        )
    if config.goals not in ((), ("accuracy",)):
        raise InputError(f"goals: got {', '.join(config.goals)} for {config.strategy}, which optimizes accuracy")
    return strategy.on(_start(settings, strategy), task or open_target(settings.target), config.seed)


def _start(settings: SearchSettings, strategy: OneShot) -> Posterior:
    """Where a one-shot search starts: a saved posterior, or a fresh prior."""
    device = resolve(settings.objective.network.device)
    path, space = settings.objective.shared_weights.posterior, settings.search.space
    name = space.name if isinstance(space, Space) else space
    if path is not None:
        posterior = Posterior.load(Path(path).expanduser())
        if posterior.space.name != name or (isinstance(space, Space) and posterior.space != space):
            raise InputError(
                f"shared_weights.posterior: got a supernet of space {posterior.space.name!r}, expected {name!r}, as "
                "search.space describes it"
            )
        return posterior.to(device)
    # One of your own is written once: the supernet may name it.
    if settings.supernet.space not in (space, name):
        raise InputError(f"supernet.space: got {settings.supernet.space!r}, expected {name!r} as in search.space")
    supernet = Supernet.from_config(strategy.supernet(replace(settings.supernet, space=space)))
    return supernet.prior(fold_in(key(settings.search.seed), 2)).to(device)
