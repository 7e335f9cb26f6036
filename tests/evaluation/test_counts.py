"""Counting conventions on modules small enough to count by hand, and latency."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from base_fast.errors import InputError
from base_fast.evaluation import Network, count_macs, measure_latency
from base_fast.space import genotypes


def test_counts_by_hand() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),  # 6 · 8 · 8 outputs of 2 · 3 · 3
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d((3, 1), stride=(2, 2)),  # 6 · 3 · 4 outputs of 3 places
        nn.AvgPool2d(2, stride=1),  # 6 · 2 · 3 outputs of 4 places
        nn.Flatten(),
        nn.Linear(36, 5),
    )
    count = count_macs(module, (4, 8, 8))
    assert (count.conv, count.linear, count.bn_elements, count.relu_elements) == (6912, 180, 384, 384)
    assert (count.max_pool_window, count.avg_pool_window, count.avg_pool_elements) == (216, 144, 36)
    assert count.conv_linear == 7092
    assert count.conv_linear_plus_bn1 == 7092 + 384
    assert count.conv_linear_plus_bn2 == 7092 + 768
    assert count.thop_old_like == 7092 + 768 + 384 + 216 + 144 + 36
    assert count.ptflops_like == 7092 + 768 + 384 + (216 + 144) // 9
    assert count.modules == {"0": 6912, "6": 180}


def test_counting_leaves_the_network_alone_and_runs_no_auxiliary_head() -> None:
    network = Network(genotypes.DARTS_V2, 4, 3, 5, auxiliary=True)
    count = count_macs(network, (3, 8, 8))
    assert network.training
    assert network.classifier.weight.device.type == "cpu"
    assert not any(layer._forward_hooks for layer in network.modules())
    assert not any("auxiliary" in name for name in count.modules)
    assert count == count_macs(network.double(), (3, 8, 8))


@pytest.mark.parametrize("shape", [(3, 32), (1, 3, 32, 32), (3, 32, 0), (3, 32.0, 32)])
def test_bad_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="input_shape: got"):
        count_macs(Network(genotypes.DARTS_V2, 4, 3, 5), shape)


def test_latency() -> None:
    network = Network(genotypes.DARTS_V2, 2, 1, 2)
    latency = measure_latency(network, (3, 8, 8), batch_size=2, repeats=5)
    assert 0 < latency.fastest <= latency.low <= latency.median <= latency.high
    assert latency.repeats == 5
    assert network.training
    assert not network.get_buffer("stem.1.num_batches_tracked").any()
    with pytest.raises(InputError, match="repeats: got 0, expected an integer ≥ 1"):
        measure_latency(network, (3, 8, 8), repeats=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_latency_on_the_gpu() -> None:
    assert measure_latency(Network(genotypes.DARTS_V2, 4, 3, 5).cuda(), (3, 32, 32), repeats=3).median > 0
