"""Bayesian layers in several processes: noise of their own from one key, and one draw for all where a key is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import base_fast as bf
from base_fast.nn.own_key import next_key


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = bf.nn.BayesianLinear(4, 3)
    model = nn.parallel.DistributedDataParallel(layer)
    x = torch.ones(2, 4)
    drawn = torch.stack([model(x), model(x)])
    drawn.sum().backward()
    with bf.nn.sampled(model, bf.random.key(1)):
        together = model(x)
    torch.save(
        {"drawn": drawn.detach(), "together": together.detach(), "grad": layer.weight_rho.grad, "key": layer.key},
        f"{folder}/{rank}.pt",
    )
    torch.distributed.destroy_process_group()


def test_processes_draw_noise_of_their_own(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_work, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert not torch.isclose(first["drawn"], second["drawn"]).any()
    assert torch.equal(first["together"], second["together"])
    # DistributedDataParallel averages: they stay one model.
    assert torch.equal(first["grad"], second["grad"])
    assert torch.equal(first["key"], second["key"])
    # The first process draws what a single one would.
    torch.manual_seed(0)
    layer = bf.nn.BayesianLinear(4, 3)
    torch.testing.assert_close(torch.stack([layer(torch.ones(2, 4)) for _ in range(2)]), first["drawn"])


def test_replicas_and_ranks_take_streams_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [tuple(next_key(bf.random.key(0), 5, replica).tolist()) for replica in range(3)]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    keys += [tuple(next_key(bf.random.key(0), 5, replica).tolist()) for replica in range(3)]
    assert keys[0] == (0, 0)
    assert len(set(keys)) == 6
