"""Recurrent cells against their formulas, written down once more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.nn import recurrent as module
from base_fast.nn.recurrent import Lstm, Masks, MixedRecurrentCell, RecurrentCell, TanhRnn
from base_fast.random import key
from base_fast.space import RECURRENT, encode, genotypes
from base_fast.space.recurrent import PUBLISHED

FUNCTIONS: dict[str, Any] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "identity": lambda x: x,
}


def formula(shape: tuple[int, ...]) -> np.ndarray:
    """Weights that anyone can write down: 0.5·sin(1 + 0.7·i) for element i."""
    return 0.5 * np.sin(1.0 + 0.7 * np.arange(math.prod(shape))).reshape(shape)


def one_step(genotype, x, h, mix, nodes, mask_x=1.0, mask_h=1.0):
    """A step as the paper has it, node by node."""
    size = h.shape[-1]

    def highway(s, before, weights, f):
        both = before @ weights
        gate = FUNCTIONS["sigmoid"](both[:, :size])
        return s + gate * (f(both[:, size:]) - s)

    states = [highway(h, np.concatenate((x * mask_x, h * mask_h), 1), mix, np.tanh)]
    for (name, predecessor), weights in zip(genotype.normal, nodes, strict=True):
        states.append(highway(states[predecessor], states[predecessor] * mask_h, weights, FUNCTIONS[name]))
    return sum(states[i] for i in genotype.normal_concat) / len(genotype.normal_concat)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("dropped", [False, True])
def test_published_cells_are_their_formulas(name: str, dropped: bool) -> None:
    genotype = PUBLISHED[name]
    cell = RecurrentCell(genotype, 3, 4).double()
    for parameter in cell.parameters():
        parameter.data = torch.from_numpy(formula(tuple(parameter.shape)))
    x, h = formula((5, 2, 3)), formula((2, 4))
    masks = Masks(torch.tensor([[0.0, 2.0, 2.0]] * 2), torch.tensor([[1.5, 1.5, 0.0, 1.5]] * 2)) if dropped else None
    found, state = cell(torch.from_numpy(x), torch.from_numpy(h).unsqueeze(0), masks)
    mask_x, mask_h = (1.0, 1.0) if masks is None else (m.double().numpy() for m in masks)
    for t in range(5):
        h = one_step(genotype, x[t], h, formula((7, 8)), formula((len(genotype.normal), 4, 8)), mask_x, mask_h)
        np.testing.assert_allclose(found[t].detach().numpy(), h, rtol=1e-13, atol=1e-14)
    assert torch.equal(state[0], found[-1])


@pytest.mark.parametrize("name", ["DARTS_RNN_V1", "DARTS_RNN_V2"])
def test_the_mixture_at_a_corner_is_the_cell_but_for_normalization(name: str, monkeypatch: Any) -> None:
    z = F.one_hot(torch.from_numpy(encode(PUBLISHED[name], RECURRENT)), 5).double()
    mixed, cell = MixedRecurrentCell(RECURRENT, 3, 4).double(), RecurrentCell(PUBLISHED[name], 3, 4).double()
    mixed.initialize(key(1))
    cell.load_state_dict(mixed.state_dict())
    x, state = torch.from_numpy(formula((4, 6, 3))), cell.initial(6)
    normalized = mixed(x, state, None, z)[0]
    monkeypatch.setattr(module, "_normalized", lambda s: s)
    torch.testing.assert_close(mixed(x, state, None, z)[0], cell(x, state)[0])
    assert not torch.allclose(normalized, cell(x, state)[0])
    # The gradient with respect to z is that of finite differences, along a direction.
    z, along = z.mul(0.5).add(0.1), torch.from_numpy(formula((1, 36, 5)))
    (gradient,) = torch.autograd.grad(mixed(x, state, None, z.requires_grad_(True))[1].sum(), z)
    ahead, behind = (mixed(x, state, None, z.detach() + step * along)[1].sum().item() for step in (1e-6, -1e-6))
    assert (gradient * along).sum().item() == pytest.approx((ahead - behind) / 2e-6, rel=1e-6)


def test_baselines_are_pytorchs() -> None:
    x, generator = torch.from_numpy(formula((6, 2, 3))), key(2)
    lstm, theirs = Lstm(3, 4).double(), nn.LSTM(3, 4).double()
    lstm.initialize(generator)
    lstm.bias.data = torch.from_numpy(formula((16,)))
    theirs.weight_ih_l0.data, theirs.weight_hh_l0.data = lstm.mix.data[:3].t(), lstm.mix.data[3:].t()
    theirs.bias_ih_l0.data, theirs.bias_hh_l0.data = lstm.bias.data, torch.zeros(16).double()
    # PyTorch has the gates in the order input, forget, new, output.
    torch.testing.assert_close(lstm(x, lstm.initial(2))[0], theirs(x)[0])
    rnn, plain = TanhRnn(3, 4).double(), nn.RNN(3, 4).double()
    rnn.initialize(generator)
    plain.weight_ih_l0.data, plain.weight_hh_l0.data = rnn.mix.data[:3].t(), rnn.mix.data[3:].t()
    plain.bias_ih_l0.data = plain.bias_hh_l0.data = torch.zeros(4).double()
    torch.testing.assert_close(rnn(x, rnn.initial(2))[0], plain(x)[0])


def test_the_norm_of_a_hidden_state_is_limited() -> None:
    cell = RecurrentCell(PUBLISHED["DARTS_RNN_V1"], 3, 4, norm_limit=0.5)
    cell.initialize(key(0))
    h = cell(torch.ones(3, 2, 3), 10.0 * torch.ones(1, 2, 4))[0].norm(dim=-1)
    assert torch.allclose(h[0], torch.full_like(h[0], 0.5)) and h.max() <= 0.5 + 1e-6


def test_other_genotypes_are_refused() -> None:
    with pytest.raises(InputError, match="has no recurrent cell"):
        RecurrentCell(genotypes.DARTS_V1, 3, 4)
