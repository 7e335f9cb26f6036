"""Training a network that is wrapped: drop path, checkpoints, and several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import base_fast as bf
from base_fast.errors import InputError
from base_fast.evaluation import TrainConfig
from base_fast.evaluation.wrappers import check_one_process
from base_fast.runs import RunFolder
from base_fast.tasks import ArraySource, Task

CONFIG = TrainConfig(steps=3, batch_size=8, drop_path=0.9, augmentation="none")


class Normalized(nn.Module):
    """A network inside a module of somebody's own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.network(x)
        return y


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compile": lambda network: torch.compile(network, backend="eager"),
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "two": lambda network: nn.DataParallel(torch.compile(network, backend="eager")),
}


@pytest.fixture(scope="module")
def task() -> Task:
    images = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return bf.whole_task(ArraySource("noise", images, [i % 3 for i in range(60)]), resolution=8, key=bf.random.key(0))


@pytest.fixture(autouse=True)
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def network() -> bf.Network:
    torch.manual_seed(0)
    return bf.Network(bf.space.genotypes.DARTS_V2, 4, 1, 3, drop_path=0.05)


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("name", [*WRAPPERS, "in a module"])
def test_it_learns_what_the_bare_network_learns(name: str, task: Task) -> None:
    bare, inner = network(), network()
    bf.train(bare, task, CONFIG)
    bf.train(WRAPPERS.get(name, Normalized)(inner), task, CONFIG)
    torch.testing.assert_close(weights(inner), weights(bare))
    assert inner.drop_path == 0.05
    assert not inner.training


@pytest.mark.parametrize("name", WRAPPERS)
def test_checkpoints_are_those_of_the_network_inside(name: str, task: Task, tmp_path: Path) -> None:
    first, second, third = network(), network(), network()
    with RunFolder.create(tmp_path / "run", "train", CONFIG) as run:
        bf.train(WRAPPERS[name](first), task, CONFIG, run=run)
        # Finished: it is loaded, and nothing is trained.
        bf.train(second, task, CONFIG, run=run)
        bf.train(WRAPPERS[name](third), task, CONFIG, run=run)
    assert torch.equal(weights(second), weights(first))
    assert torch.equal(weights(third), weights(first))


def test_a_schedule_of_drop_path_is_not_compiled_anew_at_every_step() -> None:
    counter = CompileCounter()
    inner = network().train()
    compiled = torch.compile(inner, backend=counter)
    for step in range(6):
        inner.drop_path = step / 10
        compiled(torch.randn(4, 3, 8, 8))
    # With none, with one, and with any.
    assert counter.frame_count <= 3


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Normalized(nn.parallel.DistributedDataParallel(network()))
    check_one_process(module)
    monkeypatch.setattr("base_fast.evaluation.wrappers.get_world_size", lambda group: 2)
    with pytest.raises(InputError, match="network: got DistributedDataParallel over 2 processes, expected one process"):
        check_one_process(module)
