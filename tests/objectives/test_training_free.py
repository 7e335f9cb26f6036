from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, count_parameters
from base_fast.objectives import ObjectiveConfig, TrainingFree, TrainingFreeConfig, open_objective
from base_fast.objectives.networks import build
from base_fast.objectives.training_free import gain_and_identity, mean_jacobian
from base_fast.random import fold_in, key
from base_fast.space import DARTS, NAS_BENCH_201, encode, genotypes
from tests.meta.toys import task

TASK = task(key(0), train=24)
NETWORK = NetworkConfig("nas_bench_201", channels=4, layers=5, device="cpu")
SCORES = TrainingFreeConfig(("naswot", "jacov", "synflow", "gain", "identity", "parameters"), batch_size=8)
# Edges (0,1), (0,2), (1,2), (0,3), (1,3), (2,3).
CONVOLUTIONS, SKIPS = [[3] * 6], [[1] * 6]
NOTHING, DEAD_ENDS = [[0] * 6], [[3, 3, 3, 0, 0, 0]]


def network_and_batch(choices):
    seed = int(fold_in(key(7), 0)[0]) % 2**31
    x, _ = TASK.train.batch(fold_in(key(7), 1), 0, 8)
    return build(torch.tensor(choices), NAS_BENCH_201, NETWORK, 3, seed), x


def plain_naswot(network, x):
    codes = []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, inputs, out: codes.append((inputs[0] > 0).flatten(1)))
    network(x)
    codes = torch.cat(codes, dim=1)
    agreement = (codes.unsqueeze(0) == codes.unsqueeze(1)).sum(dim=2).double()
    return torch.linalg.eigvalsh(agreement).log().sum().item()


def plain_jacov(network, x):
    x.requires_grad_(True)
    network(x).backward(torch.ones(8, 3))
    v = torch.linalg.eigvalsh(torch.corrcoef(x.grad.flatten(1).double()))
    return -(torch.log(v + 1e-5) + 1 / (v + 1e-5)).sum().item()


def plain_synflow(network):
    network.double().eval()
    for parameter in network.parameters():
        parameter.data.abs_()
    network(torch.ones(1, 3, 8, 8).double()).sum().backward()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum((m.weight * m.weight.grad).sum().item() for m in layers)


@pytest.mark.parametrize("choices", [CONVOLUTIONS, SKIPS, [[2, 3, 0, 4, 1, 3]]])
def test_scores_are_the_plain_formulas(choices):
    objective = TrainingFree(NAS_BENCH_201, TASK, NETWORK, SCORES)
    assert [(q.name, q.sign) for q in objective.quantities] == [(name, 1.0) for name in SCORES.scores]
    found = objective.measure(torch.tensor([choices]), key(7))
    naswot, jacov, synflow, *_, parameters = found.values[0].tolist()
    assert naswot == pytest.approx(plain_naswot(*network_and_batch(choices)))
    assert jacov == pytest.approx(plain_jacov(*network_and_batch(choices)), rel=1e-3)
    network = network_and_batch(choices)[0]
    assert parameters == count_parameters(network)
    assert synflow == pytest.approx(math.log1p(plain_synflow(network)))
    assert found.costs.tolist() == [[8.0]]


def test_the_jacobian_of_a_cell_is_the_mean_over_images_and_positions():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    full = torch.autograd.functional.jacobian(layer, x)
    exact = torch.einsum("bjhwbihw->ij", full) / 32
    found = torch.stack([mean_jacobian(x, layer(x), fold_in(key(0), i)) for i in range(400)])
    # Six standard errors of each entry.
    assert ((found.mean(dim=0) - exact).abs() < 6 * found.std(dim=0) / 20).all()
    assert torch.equal(mean_jacobian(x, x.new_ones(2, 4, 4, 4).requires_grad_(), key(0)), x.new_zeros(3, 4))


def test_a_cell_gains_what_it_passes_on():
    x = torch.randn(4, 2, 64, 64, requires_grad=True)
    with torch.no_grad():
        layer = nn.Conv2d(2, 2, 1)
        layer.weight.copy_(torch.tensor([[0.0, 3.0], [1.0, 0.0]]).view(2, 2, 1, 1))
    y = layer(x)
    # 16,384 positions: the estimate of an entry is within a few per cent.
    assert gain_and_identity([x, x * 1.0], key(0)) == pytest.approx((1.0, 1.0), abs=0.05)
    assert gain_and_identity([x, y], key(0)) == pytest.approx((2.0, 0.0), abs=0.1)
    assert gain_and_identity([x, y, y[..., ::2, ::2]], key(0)) == gain_and_identity([x, y], key(0))
    assert gain_and_identity([x], key(0)) == (0.0, 0.0)
    config = TrainingFreeConfig(("gain", "identity"), 8)
    found = TrainingFree(NAS_BENCH_201, TASK, NETWORK, config).measure(torch.tensor([SKIPS, CONVOLUTIONS]), key(0))
    # Along edges of skips alone there are four ways from the first node to the last, and no batch norm on any.
    assert found.values[0].tolist() == pytest.approx([4.0, 4.0], rel=0.2)
    assert (found.values[1] < 2.0).all()


def test_scores_depend_on_genotype_and_key_alone():
    objective = TrainingFree(NAS_BENCH_201, TASK, NETWORK, SCORES)
    cells = torch.tensor([CONVOLUTIONS, SKIPS])
    both = objective.measure(cells, key(1)).values
    assert torch.equal(objective.measure(cells[1:], key(1)).values, both[1:])
    assert (objective.measure(cells, key(2)).values != both)[0, :4].all()
    one = TrainingFree(NAS_BENCH_201, TASK, NETWORK, TrainingFreeConfig(("synflow",), 8)).measure(cells, key(1))
    assert torch.equal(one.values[:, 0], both[:, 2]) and one.costs.tolist() == [[0.0], [0.0]]


def test_what_connects_nothing_is_finite_and_last():
    objective = TrainingFree(NAS_BENCH_201, TASK, NETWORK, SCORES)
    found = objective.measure(torch.tensor([NOTHING, DEAD_ENDS, SKIPS]), key(0))
    nothing, dead_ends, skips = found.values
    lowest = -8 * (math.log(1e-5) + 1e5)
    assert nothing.tolist() == dead_ends.tolist() == pytest.approx([0.0, lowest, 0.0, 0.0, 0.0, 0.0])
    assert (skips > nothing).all() and found.values.isfinite().all()
    assert found.costs.tolist() == [[0.0], [0.0], [8.0]]


def test_darts_has_all_scores_but_jacov():
    cell = torch.from_numpy(encode(genotypes.DARTS_V2, DARTS)).unsqueeze(0)
    network = NetworkConfig("cifar", channels=2, layers=5, device="cpu")
    config = TrainingFreeConfig(("naswot", "synflow", "gain"), batch_size=4)
    values = TrainingFree(DARTS, TASK, network, config).measure(cell, key(0)).values
    assert values.isfinite().all() and (values > 0).all()
    with pytest.raises(InputError, match="'jacov' with skeleton 'cifar', expected 'nas_bench_201'"):
        TrainingFree(DARTS, TASK, network)


def test_it_opens_and_bad_settings_are_refused():
    config = ObjectiveConfig(("training_free",), (), network=NETWORK, training_free=SCORES)
    measured = open_objective(config, NAS_BENCH_201, TASK)
    assert measured.measure(torch.tensor([SKIPS]), key(0)).values.shape == (1, 6)
    with pytest.raises(InputError, match=r"scores: got \[\], expected different ones of naswot, jacov"):
        TrainingFreeConfig(())
    with pytest.raises(InputError, match="scores: got .*'snip'"):
        TrainingFreeConfig(("snip",))
    with pytest.raises(InputError, match="batch_size: got 1"):
        TrainingFreeConfig(batch_size=1)
    with pytest.raises(InputError, match="task: got 1 training image"):
        TrainingFree(NAS_BENCH_201, task(key(0), train=1), NETWORK)
