"""Supernets whose activations are bfloat16: how near they are, what stays float32, and what is kept for backward."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

import base_fast as bf
from base_fast.errors import InputError
from base_fast.space import Space
from base_fast.supernet import Supernet
from tests.supernet.samples import images, one_hot, sample
from tests.tolerances import SUPERNET_BFLOAT16, SUPERNET_DIRECTION_BFLOAT16

SPACES = [bf.space.DARTS.with_nodes(2), bf.space.NAS_BENCH_201]


def net_of(space: Space, **more: Any) -> Supernet:
    return Supernet(space, channels=4, layers=3, num_classes=5, **more)


def logits_and_gradient(net: Supernet, theta: Tensor, z: Tensor, hard: bool) -> tuple[Tensor, Tensor]:
    theta = theta.detach().requires_grad_()
    x = images(16, 8, dtype=theta.dtype)
    logits = net(x, theta, z, hard)
    labels = torch.arange(16) % 5
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), theta)
    return logits.detach(), gradient


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_it_is_close_to_float32(space: Space, hard: bool, memory: Any) -> None:
    net = net_of(space, memory=memory)
    cosines = []
    for seed in range(5):
        theta, z = sample(net, seed, dtype=torch.float32)
        z = one_hot(z, seed) if hard else z
        exact, expected = logits_and_gradient(net, theta, z, hard)
        logits, gradient = logits_and_gradient(net.computing_in("bfloat16"), theta, z, hard)
        assert logits.dtype == gradient.dtype == torch.float32
        # Something was rounded: the precision did reach the cells.
        assert 0.0 < (logits - exact).norm() < SUPERNET_BFLOAT16 * exact.norm()
        cosines.append(torch.cosine_similarity(gradient, expected, dim=0).item())
    assert median(cosines) > SUPERNET_DIRECTION_BFLOAT16


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_cells_see_bfloat16_and_the_head_sees_float32(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_of(space, stems=("32", "64")).computing_in("bfloat16").with_classes(7)
    seen: list[torch.dtype] = []
    last = type(net.blocks[-1])
    apply = last.apply

    def watched(self: Any, inputs: Any, *rest: Any) -> Tensor:
        seen.extend(x.dtype for x in (inputs if isinstance(inputs, tuple) else (inputs,)))
        y: Tensor = apply(self, inputs, *rest)
        seen.append(y.dtype)
        return y

    monkeypatch.setattr(last, "apply", watched)
    theta, z = sample(net, dtype=torch.float32)
    weight = net.layout.slices["classifier.weight"]
    linear: list[torch.dtype] = []
    original = torch.nn.functional.linear

    def spying(x: Tensor, *rest: Any) -> Tensor:
        linear.append(x.dtype)
        return original(x, *rest)

    monkeypatch.setattr(torch.nn.functional, "linear", spying)
    logits = net(images(4, 8, dtype=torch.float32), theta, z)
    assert set(seen) == {torch.bfloat16}
    assert linear == [torch.float32]
    assert logits.shape == (4, 7)
    assert logits.dtype == torch.float32
    assert weight.stop - weight.start == 7 * net.layout.shapes[-2][1]


def test_less_is_kept_for_backward() -> None:
    def kept(net: Supernet) -> int:
        sizes: dict[int, int] = {}

        def pack(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return x

        theta, z = sample(net, dtype=torch.float32)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            logits = net(images(16, 16, dtype=torch.float32), theta.requires_grad_(), z)
        assert logits.requires_grad
        return sum(sizes.values())

    net = net_of(bf.space.DARTS, memory="store")
    assert kept(net.computing_in("bfloat16")) < 0.6 * kept(net)


def test_double_precision_is_never_rounded() -> None:
    net = net_of(bf.space.DARTS.with_nodes(2))
    theta, z = sample(net)
    x = images(4, 8)
    assert torch.equal(net.computing_in("bfloat16")(x, theta, z), net(x, theta, z))


def test_float32_leaves_it_as_it_is_and_others_are_refused() -> None:
    net = net_of(bf.space.DARTS)
    assert net.computing_in("float32") is net
    narrow = net.computing_in("bfloat16")
    assert narrow is not net
    assert narrow.computing_in("float32") is narrow
    assert net.precision == "float32"
    with pytest.raises(InputError, match="precision: got 'float16', expected one of float32, bfloat16"):
        net.computing_in("float16")  # type: ignore[arg-type]


def test_shapes_alone_on_the_meta_device() -> None:
    net = net_of(bf.space.DARTS).computing_in("bfloat16")
    theta, z = (x.to("meta") for x in sample(net, dtype=torch.float32))
    assert net(images(2, 8, dtype=torch.float32).to("meta"), theta, z).shape == (2, 5)
