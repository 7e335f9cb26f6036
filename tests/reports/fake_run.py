"""A run folder of the kind "compare" with made-up numbers of plausible shape."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from base_fast.experiments.ground_truth import Placed, Placements
from base_fast.meta import PlayOffRecord
from base_fast.meta.play_off import Played, PlayedRound
from base_fast.posterior import Derivation
from base_fast.runs import RunFolder
from base_fast.runs.artefacts import (
    Compared,
    Evaluated,
    Machine,
    MetaTrained,
    Provenance,
    Repetition,
    RunInfo,
    Searched,
    TrainedNetwork,
    Way,
)
from base_fast.space import DARTS, Candidate, Genotype, UndecidedEdge, genotypes

CELLS = genotypes.BASE_CIFAR_TUNED
RUN = RunInfo(
    "compare",
    {},
    Provenance(
        "base-fast compare --seeds 3 --note '<b>&'",
        {"python": "3.11.2", "torch": "2.14.1", "base_fast": None},
        "0123abc",
        Machine("A processor", 8, 16 * 2**30, ("An accelerator",)),
        "2025-01-01T12:00:00+00:00",
    ),
)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def search_rows(
    rng: np.random.Generator, phase: str, steps: int, every: int, rate: float, nodes: int
) -> list[dict[str, Any]]:
    """Logits on a random walk with drift, and what is recorded about them."""
    shape = (2, sum(range(2, 2 + nodes)), DARTS.num_primitives)
    logits, drift, rows = np.zeros(shape), rng.normal(0, 1, shape) + np.eye(8)[4] * 0.6, []
    for step in range(0, steps + 1, max(steps // 150, 1)):
        x = step / steps
        logits = rate * x * drift + rng.normal(0, 0.03, shape)
        p = softmax(logits)
        nats = -(p * np.log(p)).sum(-1).mean(-1)
        row: dict[str, Any] = {"phase": phase, "step": step, "time": step * 0.1}
        row["entropy"] = {"normal": nats[0], "reduce": nats[1]}
        if phase.startswith("meta"):
            first = 1.1 + 1.15 * math.exp(-2 * x) + rng.normal(0, 0.12)
            row |= {"loss_first": first, "loss_last": first - 0.5 * x - 0.1 + rng.normal(0, 0.08)}
            row |= {"ln_classes": math.log(10), "max_probability": p.max(), "none": p[..., 0].mean()}
            row |= {"skip": p[..., 3].mean(), "sigma_drift": -0.3 * x, "mu_moved": 4 * math.sqrt(x)}
        else:
            row["nll"] = 0.5 + 1.8 * math.exp(-rate * 2 * x) + rng.normal(0, 0.1)
            row["loss"] = row["nll"] + 0.1
            row["accuracy"] = 0.1 + (0.45 + 0.08 * rate) * (1 - math.exp(-rate * 2.2 * x)) + rng.normal(0, 0.008)
        if step % every == 0:
            row["probabilities"] = p.tolist()
            row |= {"effective_cells": 20 - 12 * x + rng.normal(0, 1), "beta": 5.0, "believed": 1 - x / 2}
            means = {"shared_loss": 2.2 - 0.8 * x, "own_steps_loss": 1.9 - x, "naswot": 90 + 20 * x, "synflow": 8 + x}
            row["evidence"] = {part: mean * rng.normal(1, 0.02) for part, mean in means.items()}
        rows.append(row)
    return rows


def train_rows(rng: np.random.Generator, phase: str, best: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(0, 2001, 20):
        x = step / 2000
        row = {"phase": phase, "step": step, "time": step * 0.05, "lr": 0.025 * (1 - x)}
        row["loss"] = 0.3 + 2 * math.exp(-4 * x) + rng.normal(0, 0.08)
        if step % 200 == 0:
            row["accuracy"] = 0.1 + (best - 0.1) * (1 - math.exp(-4 * x)) + rng.normal(0, 0.004)
            row["train_accuracy"] = min(row["accuracy"] + 0.08 * x, 1.0)
        rows.append(row)
    return rows


def trained(accuracy: float) -> TrainedNetwork:
    return TrainedNetwork("digits-8px", accuracy, 0.5, 60, 9.0, 3169414, 5000000, (Evaluated(60, accuracy, 0.5, 9.0),))


def searched(accuracy: float) -> Searched:
    history = tuple(Evaluated(step, accuracy * step / 60, 2.0, 0.1 * step) for step in (0, 10, 60))
    return Searched(accuracy, 60, 6.0, "steps", history)


def repetition(seed: int, randoms: int) -> Repetition:
    networks: dict[Way, tuple[TrainedNetwork, ...]] = {"prior": (trained(0.86),), "scratch": (trained(0.84),)}
    networks["random"] = tuple(trained(0.8 + 0.01 * i) for i in range(randoms))
    return Repetition(seed, MetaTrained(100, 12.0), searched(0.6), searched(0.4), networks)


def played_off(seed: int) -> PlayOffRecord:
    """Three rounds of random cells: losses fall with the steps, and each round leaves the better half."""
    rng = np.random.default_rng(seed)
    field = {Genotype.random(DARTS, 100 * seed + k): (10 ** rng.uniform(-9, -3), rng.normal(0, 0.1)) for k in range(24)}
    cells, rounds = list(field)[:12], []
    for number in range(3):
        played = []
        for genotype in cells:
            probability, worth = field[genotype]
            late = worth + rng.normal(0, 0.03)
            measured = {"alone_loss": 1.8 - 0.3 * number + late, "naswot": 100 - worth}
            played.append(Played(genotype, probability, measured, -10 * late))
        played.sort(key=lambda cell: -cell.evidence)
        rounds.append(PlayedRound(40 * 2**number, tuple(played)))
        cells = [cell.genotype for cell in played[: len(played) // 2]] + (list(field)[12:] if number == 0 else [])
    return PlayOffRecord(tuple(rounds))


def placements(seeds: int) -> Placements:
    """In two columns of NAS-Bench-201."""
    rng, placed = np.random.default_rng(2), []
    for column in ("cifar10_test", "cifar100_test"):
        for seed in range(seeds):
            for name, percentile, mean in (
                (f"meta-seed{seed}", 4.0, 25.0),
                (f"prior-seed{seed}", 0.4, 14.0),
                (f"scratch-seed{seed}", 3.0, 32.0),
                (f"random-seed{seed}-0", 50.0, None),
                (f"random-seed{seed}-1", 50.0, None),
            ):
                where = percentile * rng.uniform(0.1, 1.9)
                sampled = (None, None) if mean is None else (mean * rng.uniform(0.8, 1.2), 0.5 / mean)
                placed.append(Placed(name, column, 1 + int(156.25 * where), where, *sampled))
    return Placements(15625, tuple(placed))


def write_fake_run(path: Path, seeds: int = 3, randoms: int = 4, steps: int = 600, nodes: int = 4) -> Path:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    run = RunFolder(path, RUN)
    run.write("run", RUN)
    run.write("space", replace(DARTS, nodes=nodes, concat=tuple(range(2, 2 + nodes))))
    edges = [UndecidedEdge("normal", 0, 3, "sep_conv_3x3", "skip_connect", (0.31, 0.28))]
    candidates = [Candidate(Genotype.random(DARTS, k), 0.2 / k, 0.01) for k in (1, 2, 3)]
    for seed in range(seeds):
        rows += search_rows(rng, f"meta/seed{seed}", 2 * steps, steps // 15, 0.9, nodes)
        for way, rate in (("prior", 2.2), ("scratch", 0.8)):
            name = f"{way}-seed{seed}"
            rows += search_rows(rng, f"adapt/{name}", steps, steps // 10, rate, nodes)
            rows += train_rows(rng, f"train/{name}", {"prior": 0.86, "scratch": 0.84}[way] + rng.normal(0, 0.005))
            run.write(f"genotypes/{name}", CELLS)
            run.write(f"derivations/{name}", Derivation(CELLS, candidates, edges))
            run.write(f"play_offs/{name}", played_off(2 * seed + (way == "prior")))
        for k in range(randoms):
            rows += train_rows(rng, f"train/random-seed{seed}-{k}", 0.81 + rng.normal(0, 0.012))
    repetitions = tuple(repetition(seed, randoms) for seed in range(seeds))
    run.write("results", Compared("Prior against scratch <i>&", 60, 0.5, 0.5, repetitions))
    run.write("placements", placements(seeds))
    (path / "config.toml").write_text("seeds = 3\nnote = '<script>'\n")
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
