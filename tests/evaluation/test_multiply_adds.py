"""Multiply-adds of whatever multiplies: by hand, and before and after what must not change them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import base_fast as bf
from base_fast.errors import InputError
from tests.nn.search_network import SearchNetwork

IMAGE = (3, 8, 8)


class Function(nn.Module):
    """A layer as a function with a parameter."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(shape)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(24, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x.reshape(len(x), 8, 24))[0]
        return y


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(self.tokens(x).transpose(1, 2))
        return y


class LowRank(nn.Conv2d):
    """The product of its own weights is no image's."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3)
        self.down, self.up = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 27))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight + (self.down @ self.up).view(4, 3, 3, 3))


VOLUME = nn.Unflatten(1, (1, 3))
BAYESIAN = nn.Sequential(
    bf.nn.BayesianConv2d(3, 8, 3, padding=1), nn.Flatten(), bf.nn.BayesianLinear(512, 5), nn.Unflatten(1, (5, 1))
)


@pytest.mark.parametrize(
    ("module", "conv", "linear"),
    [
        (BAYESIAN, 64 * 8 * 27, 512 * 5),
        (nn.ConvTranspose2d(3, 8, 2, stride=2), 64 * 3 * 8 * 4, 0),
        (nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), 64 * 3 * 2 * 4, 0),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 8, 3, padding=1)), 64 * 8 * 3 * 3, 0),
        (nn.Sequential(nn.Flatten(2), nn.ConvTranspose1d(3, 8, 2)), 64 * 8 * 3 * 2, 0),
        (nn.Sequential(VOLUME, nn.Conv3d(1, 2, 3, padding=1)), 3 * 64 * 2 * 27, 0),
        (nn.Sequential(VOLUME, nn.ConvTranspose3d(1, 2, 2, stride=2)), 3 * 64 * 2 * 8, 0),
        (Function(lambda x, w: nn.functional.conv2d(x, w, padding=1), 8, 3, 3, 3), 64 * 8 * 27, 0),
        (Function(lambda x, w: torch.einsum("bchw,cd->bdhw", x, w), 3, 7), 0, 64 * 3 * 7),
        (Function(bf.ops.relu_conv_norm, 4, 3), 64 * 3 * 4, 0),
        (Recurrent(), 0, 8 * 4 * 5 * (24 + 5)),
        (LowRank(), 36 * 4 * 27, 0),
        (nn.DataParallel(nn.Conv2d(3, 4, 3)), 36 * 4 * 27, 0),
        (torch.compile(nn.Conv2d(3, 4, 3), backend="eager"), 36 * 4 * 27, 0),
        # One value per channel: batch statistics need more images than one.
        (nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4, track_running_stats=False)), 4 * 3 * 64, 0),
    ],
)
def test_by_hand(module: nn.Module, conv: int, linear: int) -> None:
    count = bf.count_macs(module, IMAGE)
    assert (count.conv, count.linear, count.products, count.unknown) == (conv, linear, 0, ())
    assert sum(count.modules.values()) == count.conv_linear == conv + linear


def test_products_of_activations_stand_apart() -> None:
    count = bf.count_macs(Attention(), IMAGE)
    # Four tokens of width 8: q, k, v and the output of each, and the feed-forward network.
    assert (count.conv, count.linear) == (4 * 8 * 48, 4 * 4 * 64 + 2 * 4 * 8 * 16)
    assert count.products == 2 * 4 * 4 * 8
    assert set(count.modules) == {"tokens.0", "layer.self_attn", "layer.linear1", "layer.linear2"}


def test_a_patched_network_counts_as_before() -> None:
    torch.manual_seed(0)
    # Its architecture is neither a parameter nor a buffer.
    model = SearchNetwork()
    before = bf.count_macs(model, IMAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        bf.nn.patch(model, batch_size=2, resolution=4)
    after = bf.count_macs(model, IMAGE)
    assert after == before
    assert after.conv_linear > 0
    assert next(model.parameters()).device.type == "cpu"


def test_a_supernets_edge() -> None:
    count = bf.count_macs(Function(bf.nn.MixedOp(3, 2, ("none", "sep_conv_3x3", "max_pool_3x3")), 3), IMAGE)
    assert count.conv == 16 * 3 * (9 + 3) * 2


def test_what_is_not_counted_is_named() -> None:
    class Two(nn.Bilinear):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x[:, 0].flatten(1), x[:, 1].flatten(1))

    count = bf.count_macs(Two(64, 64, 2), IMAGE)
    assert (count.conv_linear, count.unknown) == (0, ("aten::_trilinear",))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Function(lambda x, w: x if x.sum().item() > 0 else w, 1), r"module: on images \(3, 8, 8\) without values"),
        (nn.Conv2d(4, 4, 3), r"module: on images \(3, 8, 8\) without values, as they are counted: RuntimeError"),
        (nn.LazyConv2d(4, 3), "module: weight has no shape yet"),
    ],
)
def test_errors(module: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bf.count_macs(module, IMAGE)
