"""Probes: what stands for all steps, and a real process that takes a few."""

from __future__ import annotations

import pytest
import torch

import base_fast as bf
from base_fast.errors import InputError
from base_fast.forecast.heaviness import evenly, heaviness
from base_fast.forecast.probe import Question, answer, ask
from base_fast.meta import ArchitectureConfig, CellEvidenceConfig, InnerConfig, MetaConfig, OuterConfig
from base_fast.objectives import SharedTrainingConfig
from base_fast.space import Space
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.tasks import SourceConfig, TaskConfig

SMALL = Space("small", ("none", "skip_connect", "nor_conv_3x3"), 1, 2, ("normal",), (2,), None)
TASKS = TaskConfig((SourceConfig("digits", classes="0-4"),), ways=5, resolutions=(8,), examples_per_class=20)
NET = SupernetConfig(SMALL, channels=4, layers=3, num_classes=5)


def config(z: str = "soft", rule: str = "reptile") -> MetaConfig:
    own = SharedTrainingConfig(steps=5, batch_size=8)
    evidence = CellEvidenceConfig(images=10, own=own, training_free=0.0)
    inner = InnerConfig(z=z, batch_size=8, architecture=ArchitectureConfig(cells=4), evidence=evidence)  # type: ignore[arg-type]
    return MetaConfig(NET, inner, OuterConfig(rule), iterations=2, inner_steps=4)  # type: ignore[arg-type]


def test_evenly_chosen_steps_stand_for_all() -> None:
    weights = [float((7 * i) % 100) for i in range(100)]
    chosen = evenly(weights, 8)
    assert len(set(chosen)) == 8
    assert abs(sum(weights[i] for i in chosen) / 8 - 49.5) < 1.5
    assert evenly([3.0, 1.0], 8) == [1, 0]
    assert evenly([0.0] * 5, 2) == [1, 3]


def test_heaviness_counts_multiply_adds() -> None:
    # Cells of 4 and 8 and 16 channels on 8, 4 and 2 pixels; block 1 and 2 are the reductions, which have no cell.
    net = Supernet(SMALL, channels=4, layers=5, num_classes=5, reductions=(1, 3))
    convolutions = torch.tensor([[2, 2, 2]])
    per_edge = 9 * (8**2 * 4**2 + 4**2 * 8**2 + 2**2 * 16**2)
    assert heaviness(net, convolutions, 8) == 3 * per_edge
    assert heaviness(net, torch.tensor([[2, 1, 1]]), 8) == per_edge
    # An edge that leads to a node which nothing reads runs nothing.
    assert heaviness(net, torch.tensor([[2, 1, 0]]), 8) == 0
    darts = Supernet(bf.space.DARTS, channels=4, layers=3)
    skip, separable = (bf.space.DARTS.primitives.index(name) for name in ("skip_connect", "sep_conv_3x3"))
    light, heavy = (torch.full((2, 14), l) for l in (skip, separable))
    assert heaviness(darts, heavy, 16) > heaviness(darts, light, 16) > 0


@pytest.mark.parametrize("rule", ["reptile", "first_order", "unrolled"])
def test_what_is_found(rule: str) -> None:
    found = answer(Question(config(rule=rule), TASKS, 8, timed=True))
    supernet = Supernet.from_config(NET)
    assert found.numbers == 2 * supernet.layout.numel + 3 * 3
    assert found.step.cpu > 0
    assert found.sample.cpu > 0
    assert (found.around.cpu > 0) == (rule == "first_order") or rule == "unrolled"
    assert 0 < found.held <= found.stepping
    assert found.measuring == 0  # mixtures draw no cells


def test_cells_are_measured() -> None:
    found = answer(Question(config("single"), TASKS, 8, timed=True))
    assert found.warm_cell.cpu > 0
    assert found.cold_cell.cpu == 0  # there are no scores of untrained networks here
    assert 0 < found.different <= 1
    assert found.measuring >= found.stepping
    untimed = answer(Question(config("single"), TASKS, 8, timed=False))
    assert untimed.measuring >= untimed.stepping
    assert untimed.warm_cell.cpu == 0


def test_a_process_of_its_own() -> None:
    found = ask(Question(config(), TASKS, 8, timed=False))
    assert found.batch == 8
    # The interpreter and PyTorch are in it, and this process, which holds more, is not.
    assert 2**26 < found.held <= found.stepping
    with pytest.raises(InputError, match="probe of batches of 8: ways: 9, but digits has only 5 classes"):
        ask(Question(config(), TaskConfig(TASKS.sources, ways=9, resolutions=(8,)), 8, timed=False))
