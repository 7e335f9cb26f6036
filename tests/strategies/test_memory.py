"""The memory buffer of a controller: its loss by hand, its gradient by autograd, and what the buffer holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from base_fast.distributions import IndependentEdges
from base_fast.distributions.controller import Controller
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.meta.rules import initial_slots, step
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, Space
from base_fast.strategies.memory import Memory, decoder_size, reconstruction

RULE = StepRule("adam", 0.01)
SMALL = Space("small", ("none", "skip_connect", "nor_conv_1x1"), 1, 2, ("normal",), (2,), None)


def cells(space, n: int, seed: int = 0) -> torch.Tensor:
    return IndependentEdges.uniform(space).sample(key(seed), n)


@pytest.mark.parametrize("space", [SMALL, DARTS, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_the_loss_is_its_formula(space):
    controller = Controller.fresh(space, key(1), hidden=3)
    trace = controller.trace(cells(space, 4))
    steps, options = trace.options.shape[1], max(space.num_primitives, 5 if space is DARTS else 0)
    decoder = torch.randn(decoder_size(space, 3), generator=torch.Generator().manual_seed(0)).double()
    expected, rest = 0.0, decoder
    for t in range(1, steps):
        weights, biases, rest = rest.split([t * options * 3, t * options, len(rest) - t * options * 4])
        for s in range(t):
            row = weights.view(t, options, 3)[s]
            log_p = torch.log_softmax(trace.hidden[:, t] @ row.T + biases.view(t, options)[s], dim=1)
            expected = expected - log_p[torch.arange(4), trace.options[:, s]].mean()
    assert len(rest) == 0
    assert reconstruction(trace, decoder, space).item() == pytest.approx(float(expected))
    # A decoder of zeros knows nothing: ln O for each pair of decisions.
    nothing = reconstruction(trace, torch.zeros_like(decoder), space)
    assert nothing.item() == pytest.approx(steps * (steps - 1) / 2 * torch.tensor(float(options)).log().item())


def test_the_gradient_is_that_of_the_weighted_loss_of_the_replayed():
    memory = Memory(weight=0.3, size=4, batch=5)
    controller = Controller.fresh(SMALL, key(1), hidden=3)
    state = memory.remember(memory.start(SMALL, 3, RULE, key(2)), cells(SMALL, 1))
    decoder = torch.randn(len(state.decoder), generator=torch.Generator().manual_seed(0)).double()
    found = memory.gradient(state._replace(decoder=decoder), controller)
    # Of one remembered genotype all replayed ones are copies.
    weights, d = controller.weights.clone().requires_grad_(True), decoder.clone().requires_grad_(True)
    loss = 0.3 * reconstruction(controller.with_weights(weights).trace(state.choices), d, SMALL)
    for one, expected in zip(found, torch.autograd.grad(loss, (weights, d)), strict=True):
        assert torch.allclose(one, expected, atol=1e-12) and one.abs().max() > 0


def test_the_buffer_holds_the_last_ones_and_replays_all_of_them():
    memory = Memory(weight=1.0, size=4, batch=200)
    state = memory.start(SMALL, 3, RULE, key(2))
    drawn = cells(SMALL, 7)
    for one in drawn.split([1, 2, 4]):
        state = memory.remember(state, one)
    assert torch.equal(state.choices, drawn[-4:])
    controller = Controller.fresh(SMALL, key(1), hidden=3)
    first, again, other = (memory.gradient(state._replace(steps=i), controller)[1] for i in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_hidden_states_learn_to_remember():
    """Off the policy's own gradient, the loss alone: it falls, and the policy's form stays."""
    memory = Memory(weight=1.0, batch=27)
    controller = Controller.fresh(SMALL, key(1), hidden=8)
    state = memory.remember(
        memory.start(SMALL, 8, RULE, key(3)), torch.cartesian_prod(*[torch.arange(3)] * 3).unsqueeze(1)
    )
    weights, slots = controller.weights, initial_slots(RULE, controller.weights)
    losses = []
    for _ in range(80):
        moved = controller.with_weights(weights)
        losses.append(reconstruction(moved.trace(state.choices), state.decoder, SMALL).item())
        gradient, d = memory.gradient(state, moved)
        weights, slots = step(RULE, 0.03, weights, gradient, slots)
        state = memory.moved(state, d, RULE, 0.03)
    assert losses[0] == pytest.approx(3 * torch.tensor(3.0).log().item())
    assert losses[-1] < 0.3
    assert len(weights) == Controller.size(SMALL, 8)


def test_without_weight_nothing_is_kept_or_moved():
    memory = Memory()
    state = memory.start(NAS_BENCH_201, 4, RULE, key(2))
    assert memory.remember(state, cells(NAS_BENCH_201, 3)) is state and len(state.decoder) == 0
    controller = Controller.fresh(NAS_BENCH_201, key(1), hidden=4)
    gradient, d = memory.gradient(state, controller)
    assert not gradient.any() and len(d) == 0
    assert memory.moved(state, d, RULE, 0.1) is state


@pytest.mark.parametrize(("name", "value"), [("weight", -1.0), ("weight", float("nan")), ("size", 0), ("batch", 0)])
def test_refusals(name: str, value: Any):
    with pytest.raises(InputError, match=f"{name}: got"):
        Memory(**{name: value})
