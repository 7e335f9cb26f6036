"""The inner loop: what moves, what is repeatable, what is reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from base_fast.errors import Diverged, InputError
from base_fast.meta import InnerConfig, StepRule, Variables
from base_fast.meta.inner import InnerLoop, InnerState
from base_fast.meta.outer import run
from base_fast.meta.variables import for_task
from base_fast.random import key
from base_fast.tasks import Augmentation
from tests.meta import toys

NET = toys.supernet()
PRIOR = Variables.of(toys.prior(NET))
ALL_MOVE = InnerConfig(
    z="soft",
    beta_z=0.0,
    batch_size=5,
    mu=StepRule("sgd", 0.05),
    rho=StepRule("adam", 0.01),
    alpha=StepRule("adam", 0.02),
    head="kept",
)


def loop(config: InnerConfig = ALL_MOVE, *, task_key: int = 6, alpha_moves: bool = True) -> InnerLoop:
    task = toys.task(key(5))
    return InnerLoop(NET, PRIOR, task, key(task_key), config, tau=0.8, noise=1.0, alpha_moves=alpha_moves)


def after(own: InnerLoop, steps: int = 3) -> Variables:
    return run(own, steps)[0].q


def test_deterministic_and_dependent_on_the_key() -> None:
    assert toys.same_bits(after(loop()), after(loop()))
    assert not toys.same_bits(after(loop()), after(loop(task_key=7)))


def test_step_is_a_pure_function_of_the_state() -> None:
    own = loop()
    middle = own.step(own.start())[0]
    copies = [x.clone() for x in middle.q]
    a, terms_a, _ = own.step(middle)
    b, terms_b, _ = own.step(middle)
    assert toys.same_bits(a.q, b.q)
    assert torch.equal(terms_a.loss, terms_b.loss)
    assert all(torch.equal(x, y) for x, y in zip(copies, middle.q, strict=True))


def test_the_prior_is_left_alone() -> None:
    copies = [x.clone() for x in PRIOR]
    after(loop())
    assert all(torch.equal(x, y) for x, y in zip(copies, PRIOR, strict=True))


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_step_size_of_zero_freezes_a_group(group: int) -> None:
    name = Variables._fields[group]
    frozen: dict[str, Any] = {name: StepRule("adam", 0.0)}
    config = replace(ALL_MOVE, **frozen)
    q = after(loop(config))
    assert [torch.equal(x, p) for x, p in zip(q, PRIOR, strict=True)] == [i == group for i in range(3)]


def test_nothing_but_alpha_moves() -> None:
    config = replace(ALL_MOVE, mu=StepRule("sgd", 0.0), rho=StepRule("sgd", 0.0))
    state, _, _, norm, _ = run(loop(config), 2)
    assert not torch.equal(state.q.alpha, PRIOR.alpha)
    assert torch.equal(state.q.mu, PRIOR.mu)
    assert norm == 0.0


def test_alpha_waits_during_the_warmup_and_its_adam_then_starts_afresh() -> None:
    waiting = loop(alpha_moves=False)
    state = waiting.start()
    for _ in range(5):
        state, _, _ = waiting.step(state)
    assert torch.equal(state.q.alpha, PRIOR.alpha)
    moved = loop().step(state)[0].q.alpha - PRIOR.alpha
    # Adam's first step is ±η, however small the gradient.
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.02), rtol=1e-3, atol=0.0)


def test_frozen_weights_wait_with_alpha_during_the_warmup() -> None:
    frozen = StepRule(lr=0.0)
    own = loop(replace(ALL_MOVE, mu=frozen, rho=frozen), alpha_moves=False)
    state, terms, norm = own.step(own.start())
    assert (state.step, norm) == (1, 0.0)
    assert terms.loss > 0.0
    assert toys.same_bits(state.q, own.prior)


def test_rho_does_not_move_without_a_gradient() -> None:
    """θ = μ and no KL: the loss does not depend on ρ."""
    q = after(loop(replace(ALL_MOVE, sample_theta=False)))
    assert torch.equal(q.rho, PRIOR.rho)
    assert not torch.equal(q.mu, PRIOR.mu)


def test_clipping_bounds_the_step_of_the_weights_and_spares_alpha() -> None:
    config = replace(ALL_MOVE, rho=StepRule("sgd", 0.05), alpha=StepRule("sgd", 0.05))
    free, _, norm = loop(replace(config, clip=0.0)).step(loop().start())
    clipped, _, same = loop(replace(config, clip=norm / 4)).step(loop().start())
    assert norm == same

    def step(state: InnerState, groups: slice) -> torch.Tensor:
        return torch.cat([(a - b).flatten() for a, b in zip(state.q[groups], PRIOR[groups], strict=True)])

    torch.testing.assert_close(step(free, slice(0, 2)), 4 * step(clipped, slice(0, 2)))
    torch.testing.assert_close(step(clipped, slice(0, 2)).norm().item(), 0.05 * norm / 4)
    assert torch.equal(step(free, slice(2, 3)), step(clipped, slice(2, 3)))


@pytest.mark.parametrize("clip", [0.0, 0.05, 1e6])
def test_one_kernel_takes_the_plain_steps_that_the_rules_take(clip: float) -> None:
    """With learnable step sizes the rules take them one by one."""
    plain = replace(ALL_MOVE, rho=StepRule("sgd", 0.1), alpha=StepRule("sgd", 0.05), clip=clip)
    sizes = Variables(*(PRIOR.mu.new_full((3,), rule.lr) for rule in plain.rules.values()))
    fused, apart = loop(plain), replace(loop(plain), step_sizes=sizes)
    a, b = fused.start(), apart.start()
    for _ in range(3):
        (a, _, norm), (b, _, other) = fused.step(a), apart.step(b)
        assert norm == pytest.approx(other, rel=1e-12)
    for x, y in zip(a.q, b.q, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_augmentation_changes_the_batches() -> None:
    assert not toys.same_bits(after(loop()), after(loop(replace(ALL_MOVE, augmentation=Augmentation(2)))))


def test_batches_follow_the_steps() -> None:
    own = loop(replace(ALL_MOVE, sample_theta=False, alpha=StepRule("sgd", 0.0)))
    losses = [own.loss(PRIOR, step).nll.item() for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_diverged(clip: float) -> None:
    own = loop(replace(ALL_MOVE, mu=StepRule("sgd", 1e300), clip=clip))
    with pytest.raises(Diverged, match=r"^inner step 1: loss (nan|inf), .*inner\.mu\.lr.*inner\.clip.*$"):
        run(own, 3)


def test_head_policies() -> None:
    kept_net, kept = for_task(NET, PRIOR, "kept", 3)
    assert kept_net is NET
    assert toys.same_bits(kept, PRIOR)
    zeroed_net, zeroed = for_task(NET, PRIOR, "zeroed", 3)
    assert zeroed_net is NET
    assert bool((zeroed.mu[NET.head] == 0.0).all())
    assert torch.equal(zeroed.mu[: NET.head.start], PRIOR.mu[: NET.head.start])
    assert torch.equal(zeroed.rho, PRIOR.rho)
    own_net, own = for_task(NET, PRIOR, "own", 7)
    assert own_net.config.num_classes == 7
    assert own.mu.shape == own.rho.shape == (own_net.layout.numel,)
    assert bool((own.mu[own_net.head] == 0.0).all())
    torch.testing.assert_close(own.rho[own_net.head.start], PRIOR.rho[NET.head].mean())
    assert toys.same_bits(for_task(NET, PRIOR, "own", 3)[1], zeroed)


@pytest.mark.parametrize("policy", ["kept", "zeroed"])
def test_a_head_of_another_size_needs_the_policy_own(policy: str) -> None:
    with pytest.raises(InputError, match="num_classes: got a task of 2 classes for a head of 3 outputs"):
        for_task(NET, PRIOR, policy, 2)
