"""The inner loop: a task's posterior starts at the prior and takes gradient steps on the negative ELBO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast import ops
from base_fast.engine import current, even_parts, metered, tree_mean
from base_fast.errors import Diverged
from base_fast.meta import rules
from base_fast.meta.architecture import Draws, agreement, belief, draw_cells, posterior_logits
from base_fast.meta.config import InnerConfig, StepRule
from base_fast.meta.elbo import Elbo, architecture, elbo, step_keys
from base_fast.meta.evidence import CellEvidenceConfig, evidence_on
from base_fast.meta.rules import Slots
from base_fast.meta.variables import WEIGHTS, Group, Variables
from base_fast.random import fold_in
from base_fast.supernet import Supernet
from base_fast.tasks import Task


class InnerState(NamedTuple):
    """Where a task's inner loop stands; `draws` are the cells that it measured, on single paths."""

    q: Variables
    slots: Mapping[Group, Slots]
    step: int
    draws: Draws


class Drawn(NamedTuple):
    """What a draw of cells came to.

    best (T, E): by evidence. means: of the parts' values. effective: sample size of the weights p/m·exp(βℓ), of all
    cells remembered. beta: what was used. agreement: of the prior with the evidence, over these cells. believed: how
    much of the prior counted. spent: by unit.
    """

    best: Tensor
    means: dict[str, float]
    effective: float
    beta: float
    agreement: float
    believed: float
    spent: dict[str, float]


@dataclass(frozen=True)
class InnerLoop:
    """One task's inner loop; `step` is a pure function of the state.

    Attributes:
        supernet, prior: with the task's head (`variables.for_task`).
        task: its training images move the weights, N is their number; its validation images judge cells.
        key: of the task; batches, noise of θ and noise of z derive from it and the step's number.
        step_scale: factor of the weights' step sizes.
        alpha_moves: False during the warm-up of the weights: edge logits take no gradient steps, and cells are measured
            without the weights.
        step_sizes: None to use the configured ones, or those of each group, (T,) each.
        usual_agreement: of the prior with the evidence, on the tasks that it was learned on; None believes all of it.
        differentiable: keep the graph of every step, for the unrolled outer step.
    """

    supernet: Supernet
    prior: Variables
    task: Task
    key: Tensor
    config: InnerConfig
    step_scale: float = 1.0
    tau: float = 1.0
    noise: float = 0.0
    alpha_moves: bool = True
    step_sizes: Variables | None = None
    differentiable: bool = False
    usual_agreement: float | None = None

    @property
    def rules(self) -> dict[Group, StepRule]:
        return self.config.rules

    @property
    def moving(self) -> list[Group]:
        """The groups that move."""
        return [g for g, rule in self.rules.items() if rule.lr > 0.0 and (g != "alpha" or self.alpha_moves)]

    @property
    def descending(self) -> list[Group]:
        """Those of them that move along a gradient: on single paths, q(z) does not."""
        return [g for g in self.moving if g != "alpha" or self.config.z != "single"]

    def start(self) -> InnerState:
        # Views, not the prior itself: the first step's gradient is with respect to q alone, though q = p there.
        q = Variables(*(x.view_as(x) for x in self.prior)) if self.differentiable else self.prior.detached()
        return InnerState(
            q,
            {g: rules.initial_slots(self.rules[g], x) for g, x in q.named().items()},
            0,
            Draws.none(self.supernet.space),
        )

    def loss(self, q: Variables, step: int) -> Elbo:
        """The negative ELBO of the batch of `step` at `q`: the mean over its microbatches."""
        parts = [self._part_loss(q, step, x, y) for x, y in self._parts(step)]
        return parts[0] if len(parts) == 1 else Elbo(*map(tree_mean, zip(*parts, strict=True)))

    def _parts(self, step: int) -> list[tuple[Tensor, Tensor]]:
        """The microbatches of a step's batch, of one size."""
        config = self.config
        with metered("data"):
            x, y = self.task.train.batch(fold_in(self.key, 0), step, config.batch_size, config.augmentation)
        return list(zip(*(even_parts(own, config.microbatches) for own in (x, y)), strict=True))

    def _part_loss(self, q: Variables, step: int, x: Tensor, y: Tensor) -> Elbo:
        return elbo(
            self.supernet,
            q,
            self.prior,
            x.to(q.mu),
            y.to(q.mu.device),
            self._key_of(step),
            self.config,
            tau=self.tau,
            noise=self.noise,
            dataset_size=len(self.task.train),
        )

    def architecture(self, q: Variables, step: int) -> Tensor:
        """(T, E, L): what runs in that step, if the edge logits are those of `q`."""
        _, z_key = step_keys(self._key_of(step))
        z_key = z_key.to(q.alpha.device)
        return architecture(self.supernet.space, q.alpha, z_key, self.config, self.tau, self.noise)

    def _key_of(self, step: int) -> Tensor:
        return fold_in(fold_in(self.key, 1), step)

    def step(self, state: InnerState) -> tuple[InnerState, Elbo, float]:
        """One gradient step; returns the new state, the loss before it, and the weights' gradient norm.

        Raises:
            Diverged: the loss or the gradient is NaN or infinite.
        """
        q = state.q if self.differentiable else state.q.leaves(self.descending)
        terms, gradients = self._gradients(q, state.step)
        after, norm = self._moved(q, gradients, state)
        if not (torch.isfinite(terms.loss) and norm < float("inf")):
            raise Diverged(
                f"inner step {state.step}: loss {terms.loss.item():g}, gradient norm {norm:g}; "
                "a smaller step size (inner.mu.lr) or stronger clipping (inner.clip) may help"
            )
        return (after if self.differentiable else _detached(after)), terms, norm

    def _gradients(self, q: Variables, step: int) -> tuple[Elbo, dict[Group, Tensor]]:
        """The loss of a step at `q` and its gradients on what moves; ranks that share the task share microbatches."""
        active = {g: x for g, x in q.named().items() if g in self.descending and x.requires_grad}

        def differentiated(terms: Elbo) -> dict[Group, Tensor]:
            # During the warm-up of frozen weights nothing moves, and there is nothing to differentiate.
            if not active:
                return {}
            along = list(active.values())
            found = torch.autograd.grad(terms.loss, along, create_graph=self.differentiable, allow_unused=True)
            return {g: x for g, x in zip(active, found, strict=True) if x is not None}

        if self.config.microbatches == 1 or self.differentiable:
            terms = self.loss(q, step)
            return terms, differentiated(terms)

        def work(part: tuple[Tensor, Tensor]) -> tuple[Tensor, list[Tensor]]:
            terms = self._part_loss(q, step, *part)
            own = differentiated(terms)
            flat = [own[g].flatten() if g in own else torch.zeros_like(x).flatten() for g, x in active.items()]
            return torch.cat([*flat, q.mu.new_empty(0)]), [x.detach().cpu() for x in terms]

        mean, terms_of = current().mean(self._parts(step), work)
        shares = mean.split([x.numel() for x in active.values()])
        gradients = {g: x.view_as(q.named()[g]) for g, x in zip(active, shares, strict=True)}
        return Elbo(*map(tree_mean, zip(*terms_of, strict=True))), gradients

    def draws_now(self, state: InnerState, last: bool) -> bool:
        """Whether cells are drawn and measured after the step that led to `state`: at intervals, and after the last."""
        config = self.config
        if config.z != "single" or config.alpha.lr == 0.0 or self.evidence is None:
            return False
        return last or state.step % config.architecture.every == 0

    @property
    def evidence(self) -> CellEvidenceConfig | None:
        """What counts now: while weights are cold, only what does not depend on them."""
        return self.config.evidence if self.alpha_moves else self.config.evidence.cold

    def draw(self, state: InnerState) -> tuple[InnerState, Drawn]:
        """Draw cells, measure them on common images with the weights of `state`, and move q(z) by what they are worth.

        Raises:
            Interrupted: from the evidence, when SIGINT or SIGTERM came.
        """
        config, space = self.config.architecture, self.supernet.space
        key = fold_in(fold_in(self.key, 2), state.step)
        cells, log_mixture = draw_cells(space, state.q.alpha, config.uniform, fold_in(key, 0), config.cells)
        # A sharp q draws the same cell often; it is worth the same each time.
        different, place = torch.unique(cells, dim=0, return_inverse=True)
        assert self.evidence is not None, "draws_now says so"
        evidence = evidence_on(self.evidence, self.supernet, state.q.mu, self.task)
        found = evidence.measure(different, fold_in(key, 1))
        draws = state.draws.joined(cells, found.values[place, 0], log_mixture, config.window)
        agreed = agreement(space, self.prior.alpha, draws)
        believed = belief(agreed, self.usual_agreement, len(draws.choices), config.belief)
        prior = believed * torch.log_softmax(self.prior.alpha, dim=-1)
        update = posterior_logits(space, prior, draws, config, self.config.beta_z)
        q = state.q._replace(alpha=update.phi.to(state.q.alpha))
        names = [quantity.name for quantity in evidence.quantities]
        best = different[int(found.values[:, 0].argmax())]
        means = dict(zip(names[1:], found.values[:, 1:].mean(dim=0).tolist(), strict=True))
        return state._replace(q=q, draws=draws), Drawn(
            best, means, update.effective, update.beta, agreed, believed, evidence.spent(found.costs)
        )

    def _moved(self, q: Variables, gradients: dict[Group, Tensor], state: InnerState) -> tuple[InnerState, float]:
        """The state after a step along some groups' gradients, and the norm of the weights' gradient."""
        values, slots = q.named(), dict(state.slots)
        weights = [g for g in WEIGHTS if g in gradients]
        if weights and self._plain(weights):
            sizes = [self.rules[g].lr * self.step_scale for g in weights]
            own = [gradients.pop(g) for g in weights]
            moved, length = ops.sgd_step([values[g].detach() for g in weights], own, sizes, self.config.clip)
            values.update(zip(weights, moved, strict=True))
            norm = length.item()
        else:
            scale, norm = self._clip([gradients[g] for g in weights])
            gradients |= {g: gradients[g] * scale for g in weights}
        for g, gradient in gradients.items():
            rule = self.rules[g]
            if rule.rule == "natural":
                gradient = rules.natural_gradient(g, q.rho, gradient)
            lr = rule.lr if self.step_sizes is None else self.step_sizes.named()[g][state.step]
            lr = lr * self.step_scale if g in WEIGHTS else lr
            values[g], slots[g] = rules.step(rule, lr, values[g], gradient, slots[g])
        return state._replace(q=Variables(**values), slots=slots, step=state.step + 1), norm

    def _plain(self, groups: list[Group]) -> bool:
        """Whether these groups take plain gradient steps that nothing differentiates: one kernel does them all."""
        own = [self.rules[g] for g in groups]
        fixed = not self.differentiable and self.step_sizes is None
        return fixed and all(rule.rule == "sgd" and rule.momentum == 0.0 for rule in own)

    def _clip(self, gradients: list[Tensor]) -> tuple[Tensor | float, float]:
        """The factor that brings the weights' gradient to the largest norm allowed, and its norm."""
        if not gradients:
            return 1.0, 0.0
        norm = torch.linalg.vector_norm(torch.cat(gradients))
        value = norm.item()
        # The comparison is written so that NaN counts as too large, and is reported by the caller.
        if self.config.clip == 0.0 or value <= self.config.clip:
            return 1.0, value
        return self.config.clip / norm, value if value == value else float("inf")


def _detached(state: InnerState) -> InnerState:
    slots = {g: tuple(x.detach() for x in own) for g, own in state.slots.items()}
    return state._replace(q=state.q.detached(), slots=slots)
