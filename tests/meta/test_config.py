"""Configurations: what they refuse, how schedules run, and that files give them back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig
from base_fast.meta import AdaptConfig, Budget, InnerConfig, MetaConfig, OuterConfig, Schedule, StepRule
from base_fast.meta.architecture import ArchitectureConfig
from base_fast.meta.evidence import CellEvidenceConfig
from base_fast.runs import from_dict, load_config, save_config, to_dict
from base_fast.supernet import SupernetConfig
from base_fast.tasks import Augmentation

CONCRETE = InnerConfig(z="soft", kl_z="concrete", beta_z=1.0)
FULL = Schedule(1.0, 1.0)
FROZEN = StepRule(lr=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepRule(lr=-0.1), "lr: got -0.1, expected a finite number ≥ 0"),
        (lambda: StepRule(lr=math.nan), "lr: got nan"),
        (lambda: StepRule(lr=math.inf), "lr: got inf"),
        (lambda: StepRule(momentum=1.0), "momentum: got 1.0, expected a number in"),
        (lambda: StepRule(momentum=-0.1), "momentum: got -0.1"),
        (lambda: StepRule(beta1=1.0), "beta1: got 1.0"),
        (lambda: StepRule(beta2=math.nan), "beta2: got nan"),
        (lambda: Schedule(1.0, 0.0, "exponential"), "schedule: got 1.0 → 0.0, expected both > 0"),
        (lambda: Schedule(-1.0, 1.0, "exponential"), "schedule: got -1.0 → 1.0"),
        (lambda: InnerConfig(batch_size=0), "batch_size: got 0"),
        (lambda: InnerConfig(alpha=StepRule("natural")), "alpha.rule: got 'natural'"),
        (lambda: InnerConfig(clip=-1.0), "clip: got -1.0"),
        (lambda: InnerConfig(clip=math.nan), "clip: got nan"),
        (lambda: InnerConfig(beta_theta=-1.0), "beta_theta: got -1.0"),
        (lambda: InnerConfig(beta_z=-1.0), "beta_z: got -1.0"),
        (lambda: OuterConfig(lr=0.0), "lr: got 0.0, expected a finite number > 0"),
        (lambda: OuterConfig(lr=math.inf), "lr: got inf"),
        (lambda: OuterConfig("unrolled", step_size_lr=-0.1), "step_size_lr: got -0.1 with unrolled"),
        (lambda: OuterConfig("unrolled", step_size_lr=math.nan), "step_size_lr: got nan"),
        (lambda: OuterConfig("reptile", step_size_lr=0.1), "step_size_lr: got 0.1 with reptile"),
        (lambda: OuterConfig("first_order", step_size_lr=0.1), "step_size_lr: got 0.1 with first_order"),
        (lambda: MetaConfig(iterations=0), "iterations: got 0"),
        (lambda: MetaConfig(tasks=0), "tasks: got 0"),
        (lambda: MetaConfig(inner_steps=0), "inner_steps: got 0"),
        (lambda: MetaConfig(record_every=0), "record_every: got 0"),
        (lambda: MetaConfig(checkpoint_every=0), "checkpoint_every: got 0"),
        (lambda: MetaConfig(warmup=-1), "warmup: got -1"),
        (lambda: MetaConfig(inner=CONCRETE), "kl_z: got 'concrete' with noise 0.0 → 0.0"),
        (lambda: MetaConfig(inner=CONCRETE, noise=Schedule(0.5, 1.0)), "kl_z: got 'concrete' with noise 0.5 → 1.0"),
        (lambda: AdaptConfig(inner=CONCRETE), "kl_z: got 'concrete'"),
        (
            lambda: InnerConfig(mu=FROZEN, rho=FROZEN, alpha=FROZEN),
            "mu.lr, rho.lr, alpha.lr: got 0 for all, expected at least one",
        ),
        (lambda: InnerConfig(beta_z=math.inf), "beta_z: got inf"),
        (lambda: MetaConfig(inner=InnerConfig(z="hard")), "z: got 'hard' with noise 0.0 → 0.0, expected noise > 0"),
        (
            lambda: AdaptConfig(inner=InnerConfig(z="hard"), noise=Schedule(1.0, 0.0)),
            "z: got 'hard' with noise 1.0 → 0.0",
        ),
        (lambda: MetaConfig(tau=Schedule(1.0, 0.0)), "tau: got 1.0 → 0.0"),
        (lambda: AdaptConfig(tau=Schedule(math.nan, 1.0)), "tau: got nan"),
        (lambda: MetaConfig(noise=Schedule(-1.0, 1.0)), "noise: got -1.0 → 1.0"),
        (lambda: MetaConfig(mu_scale=0.0), "mu_scale: got 0.0"),
        (lambda: MetaConfig(sigma_scale=-1.0), "sigma_scale: got -1.0"),
        (lambda: AdaptConfig(evaluate_images=0), "evaluate_images: got 0"),
        (lambda: Budget(entropy_window=0), "entropy_window: got 0"),
        (lambda: Budget(steps=None), "budget: got no limit"),
        (lambda: Budget(steps=0), "steps: got 0"),
        (lambda: Budget(seconds=0.0), "seconds: got 0.0"),
        (lambda: Budget(entropy_tolerance=-1.0), "entropy_tolerance: got -1.0"),
        (lambda: AdaptConfig(warmup=-1), "warmup, evaluate_every: got -1, 100"),
        (lambda: AdaptConfig(evaluate_every=-1), "warmup, evaluate_every: got 0, -1"),
        (lambda: AdaptConfig(checkpoint_every=0), "checkpoint_every: got 0"),
    ],
)
def test_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_accepted_at_the_borders() -> None:
    StepRule(lr=0.0, momentum=0.0, beta1=0.0, beta2=0.0)
    InnerConfig(z="soft", batch_size=1, clip=0.0, beta_theta=0.0, beta_z=0.0)
    MetaConfig(iterations=1, tasks=1, inner_steps=1, warmup=0, inner=CONCRETE, noise=FULL)
    MetaConfig(inner=replace(CONCRETE, beta_z=0.0))
    AdaptConfig(inner=CONCRETE, noise=FULL, evaluate_every=0)
    Budget(steps=None, seconds=0.1)
    Budget(steps=None, entropy_tolerance=0.1)


@pytest.mark.parametrize(
    ("shape", "half", "quarter"),
    [
        ("linear", 2.5, 3.25),
        ("cosine", 2.5, 4.0 - 3.0 * (0.5 - 0.5 * math.cos(math.pi / 4))),
        ("exponential", 2.0, 4.0**0.75),
    ],
)
def test_schedule(shape: Any, half: float, quarter: float) -> None:
    schedule = Schedule(4.0, 1.0, shape)
    values = [schedule(t) for t in (-1.0, 0.0, 0.25, 0.5, 1.0, 2.0)]
    assert values == pytest.approx([4.0, 4.0, quarter, half, 1.0, 1.0])
    falling = [schedule(i / 50) for i in range(51)]
    assert all(b < a for a, b in itertools.pairwise(falling))


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential"])
def test_a_schedule_between_equals_is_constant(shape: Any) -> None:
    assert [Schedule(0.7, 0.7, shape)(t) for t in (0.0, 0.3, 1.0)] == pytest.approx([0.7] * 3)


FULL_INNER = InnerConfig(
    batch_size=7,
    mu=StepRule("natural", 0.1, momentum=0.5),
    rho=StepRule("adam", 1e-3, beta1=0.5, beta2=0.9),
    clip=1.5,
    beta_theta=1e-5,
    beta_z=2.0,
    kl_z="concrete",
    sample_theta=False,
    z="hard",
    uniform=0.3,
    architecture=ArchitectureConfig("importance", 9, 0.1, 2.0, 1.0, 0.5, 4, 50),
    evidence=CellEvidenceConfig(0.0, 0.0, 1.0, 0.0, 50, scores=("naswot",), network=NetworkConfig("cifar", 4, 5)),
    head="own",
    augmentation=Augmentation(2, False, 3),
)
CONFIGS = [
    MetaConfig(),
    AdaptConfig(),
    MetaConfig(
        supernet=SupernetConfig("nas_bench_201", 2, 8, 5, 7, ("32", "64"), (1, 3)),
        inner=FULL_INNER,
        outer=OuterConfig("unrolled", "adam", 0.01, 0.1, 0.01, 0.1),
        iterations=3,
        tau=Schedule(2.0, 0.5, "exponential"),
        noise=FULL,
        seed=-5,
    ),
    AdaptConfig(
        inner=FULL_INNER, budget=Budget(None, 1.5, 0.01, 7), noise=FULL, evaluate_images=None, tau=Schedule(1, 0.1)
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["meta", "adapt", "full-meta", "full-adapt"])
def test_round_trip(config: Any, tmp_path: Path) -> None:
    assert from_dict(type(config), to_dict(config)) == config
    save_config(tmp_path / "config.toml", config)
    assert load_config(tmp_path / "config.toml", type(config)) == config


def test_refused_in_files_with_the_path_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[inner.mu]\nlr = -1.0\n")
    with pytest.raises(InputError, match=r"inner\.mu: lr: got -1\.0"):
        load_config(path, MetaConfig)
    path.write_text('[outer]\nrule = "reptil"\n')
    with pytest.raises(InputError, match=r"outer\.rule: got 'reptil' \(did you mean reptile\?\)"):
        load_config(path, MetaConfig)


def test_hashable_and_frozen() -> None:
    assert len({MetaConfig(), MetaConfig(), MetaConfig(seed=1)}) == 2
    with pytest.raises(AttributeError):
        MetaConfig().seed = 1  # type: ignore[misc]
