"""A run folder of the kind "compare" with made-up numbers of plausible shape."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from base_fast.space import DARTS

BASE_CIFAR = {
    "normal": [
        ["skip_connect", 0],
        ["dil_conv_3x3", 1],
        ["max_pool_3x3", 0],
        ["dil_conv_5x5", 0],
        ["max_pool_3x3", 0],
        ["sep_conv_5x5", 0],
        ["max_pool_3x3", 1],
        ["dil_conv_5x5", 1],
    ],
    "normal_concat": [2, 3, 4, 5],
    "reduce": [
        ["sep_conv_3x3", 0],
        ["sep_conv_5x5", 0],
        ["max_pool_3x3", 0],
        ["sep_conv_3x3", 0],
        ["skip_connect", 0],
        ["avg_pool_3x3", 3],
        ["max_pool_3x3", 1],
        ["skip_connect", 2],
    ],
    "reduce_concat": [2, 3, 4, 5],
}
RUN = {
    "kind": "compare",
    "command": "base-fast compare --seeds 3 --note '<b>&'",
    "versions": {"python": "3.11.2", "torch": "2.14.1", "base_fast": None},
    "commit": "0123abc",
    "machine": {"cpu": "A processor", "cores": 8, "memory_bytes": 16 * 2**30, "gpus": ["An accelerator"]},
    "created": "2025-01-01T12:00:00+00:00",
}


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


def write_fake_run(path: Path, seeds: int = 3, randoms: int = 4, steps: int = 600, nodes: int = 4) -> Path:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    genotypes, candidates, undecided = {}, {}, {}
    for seed in range(seeds):
        rows += search_rows(rng, f"meta/seed{seed}", 2 * steps, steps // 15, 0.9, nodes)
        for start, rate in (("prior", 2.2), ("scratch", 0.8)):
            name = f"{start}-seed{seed}"
            rows += search_rows(rng, f"adapt/{name}", steps, steps // 10, rate, nodes)
            rows += train_rows(rng, f"train/{name}", {"prior": 0.86, "scratch": 0.84}[start] + rng.normal(0, 0.005))
            genotypes[name] = BASE_CIFAR
            candidates[name] = [
                {"genotype": BASE_CIFAR, "compact": f"candidate <{k}>", "probability": 0.2 / k, "standard_error": 0.01}
                for k in (1, 2, 3)
            ]
            edge = {
                "cell_type": "normal",
                "predecessor": 0,
                "node": 3,
                "best": "sep_conv_3x3",
                "runner_up": "skip_connect",
            }
            undecided[name] = [
                {**edge, "runner_up": "skip_connect", "probabilities": [0.05, 0.02, 0.03, 0.28, 0.31, 0.2, 0.06, 0.05]}
            ]
        for k in range(randoms):
            rows += train_rows(rng, f"train/random-seed{seed}-{k}", 0.81 + rng.normal(0, 0.012))
    results = {
        "title": "Prior against scratch <i>&",
        "columns": ["start", "steps to 55 %", "accuracy (%)", "parameters"],
        "rows": [
            ["prior", 130, "86.0 ± 0.5", 3169414],
            ["scratch", 410.5, "84.1 ± 0.6", 3001222],
            ["random", None, 81.0, 2.9e6],
        ],
        "notes": ["Mean and standard deviation over seeds."],
        "target_accuracy": 0.5,
    }
    space = {
        "name": "darts",
        "primitives": list(DARTS.primitives),
        "inputs": 2,
        "nodes": 4,
        "cell_types": ["normal", "reduce"],
    }
    path.mkdir(parents=True, exist_ok=True)
    files = {"run": RUN, "genotype": genotypes, "candidates": candidates, "undecided": undecided, "space": space}
    for name, value in {**files, "results": results}.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    (path / "config.toml").write_text("seeds = 3\nnote = '<script>'\n")
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
