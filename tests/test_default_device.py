"""With `torch.set_default_device`: what computes on the CPU stays there, and layers follow; and layers on "meta"."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import base_fast as bf
from base_fast.evaluation import TrainConfig, initialize
from base_fast.tasks import ArraySource, Task


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """A default device that computes nothing, so that anything made there by mistake is seen."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def task() -> Task:
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8, generator=numbers, device="cpu")
    return bf.whole_task(ArraySource("noise", images, [i % 3 for i in range(60)]), resolution=8, key=bf.random.key(0))


def test_a_training_on_the_cpu(elsewhere: None) -> None:
    network = initialize(bf.Network(bf.space.genotypes.DARTS_V2, 4, 1, 3), bf.random.key(0))
    assert next(network.parameters()).device.type == "cpu"
    result = bf.train(network, task(), TrainConfig(steps=2, batch_size=8, drop_path=0.2))
    assert 0.0 <= result.accuracy <= 1.0


def test_an_adaptation_on_the_cpu(elsewhere: None) -> None:
    supernet = bf.Supernet(bf.space.DARTS.with_nodes(2), channels=2, layers=2, num_classes=3)
    prior = supernet.prior(bf.random.key(0))
    found = bf.adapt(prior, task(), bf.AdaptConfig(inner=bf.InnerConfig(z="soft"), budget=bf.Budget(steps=2)))
    assert found.posterior.mu.device.type == "cpu"
    assert len(bf.derive(found.posterior).genotype.normal) == 4
    assert found.posterior.architecture.sample(bf.random.key(1), 3).device.type == "cpu"


def test_layers_follow(elsewhere: None) -> None:
    x, z = torch.randn(2, 4, 6, 6, requires_grad=True), torch.randn(8, requires_grad=True)
    edge = bf.nn.MixedOp(4)
    y = edge(x, z)
    y.sum().backward()
    assert y.device.type == edge.get_parameter("_ops.4.op.1.weight").device.type == "meta"
    assert (y.shape, x.grad is not None and x.grad.shape) == (x.shape, x.shape)
    assert edge(x, z, chosen=4).shape == x.shape
    assert bf.nn.BayesianConv2d(4, 3, 3)(x).shape == (2, 3, 4, 4)
    supernet = bf.Supernet(bf.space.DARTS.with_nodes(2), channels=2, layers=2, num_classes=3)
    logits = supernet(torch.randn(2, 3, 8, 8), torch.randn(supernet.layout.numel), torch.randn(2, 5, 8))
    assert logits.shape == (2, 3)


# What follows the default device: layers, and modules of the user's own.
FOLLOWING = {
    "evaluation/language_model.py",
    "nn/mixed_op.py",
    "nn/recurrent.py",
    "predictors/autoencoder.py",
    "reference/own_module.py",
}
FACTORIES = {
    "zeros",
    "ones",
    "empty",
    "full",
    "rand",
    "randn",
    "randint",
    "randperm",
    "arange",
    "tensor",
    "as_tensor",
    "eye",
}


def test_whatever_makes_a_tensor_says_where() -> None:
    package = Path(bf.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            makes = isinstance(node, ast.Call) and ast.unparse(node.func) in {f"torch.{f}" for f in FACTORIES}
            if makes and name not in FOLLOWING and "device" not in {k.arg for k in node.keywords}:
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []
