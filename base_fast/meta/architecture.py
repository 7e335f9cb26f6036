"""How q(z) moves: from what drawn cells turned out to be worth to a posterior, and from posteriors to the prior.

Per task the architecture's part of the ELBO is E_q[β·ℓ(z)] − κ·KL(q ‖ p), with ℓ the evidence of a cell (larger is
better). Gradients of a mixture's loss do not identify it; whole cells, drawn and measured, do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.random import fold_in, generator
from base_fast.space import Space


@dataclass(frozen=True)
class ArchitectureConfig:
    """How drawn and measured cells move q(z)."""

    rule: Literal["regression", "importance"] = "regression"
    """regression: a regression of the evidence on edges and primitives, the linearized maximizer of the ELBO;
    importance: tempered importance weights of the drawn cells (PARSEC's estimate, held back to the prior)."""
    cells: int = 24
    """K, cells of a draw, measured on the same images."""
    uniform: float = 0.3
    """Share of them that is drawn uniformly; the others come from q."""
    beta: float = 2.5
    """β, weight of the evidence: nats for each standard deviation of a measure of weight 1, against β_z of the KL."""
    ridge: float = 4.0
    """regression: pseudo-observations that say an edge makes no difference."""
    effective: float = 0.3
    """importance: the smallest effective sample size, as a share of the cells; β is lowered until it is reached."""
    belief: float = 48.0
    """Measured cells that it takes to halve the doubt whether a new task is like those of the prior."""
    window: int = 10
    """Draws that are remembered, the latest ones."""
    every: int = 500
    """Gradient steps of the weights before each draw; there is one after the last step, too."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("cells", "window", "every"):
            if getattr(self, name) < (2 if name == "cells" else 1):
                least = 2 if name == "cells" else 1
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ {least}")
        if not 0.0 <= self.uniform <= 1.0:
            raise InputError(f"uniform: got {self.uniform!r}, expected a share from 0 to 1")
        for name in ("beta", "ridge", "belief"):
            value = getattr(self, name)
            if not (0.0 < value < math.inf):
                raise InputError(f"{name}: got {value!r}, expected a finite number > 0")
        if not 0.0 < self.effective <= 1.0:
            raise InputError(f"effective: got {self.effective!r}, expected a share in (0, 1]")


class Draws(NamedTuple):
    """Cells that were drawn and measured: choices (n, T, E); evidence (n,), comparable within a draw; log_mixture (n,),
    the log-density that they were drawn from; draw (n,), the number of their draw."""

    choices: Tensor
    evidence: Tensor
    log_mixture: Tensor
    draw: Tensor

    @classmethod
    def none(cls, space: Space) -> Draws:
        """Before the first draw."""
        choices = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        nothing = torch.empty(0, dtype=torch.float64, device="cpu")
        return cls(choices, nothing, nothing, torch.empty(0, dtype=torch.int64, device="cpu"))

    def joined(self, choices: Tensor, evidence: Tensor, log_mixture: Tensor, window: int) -> Draws:
        """With one more draw, without those that the window no longer holds."""
        number = int(self.draw[-1]) + 1 if len(self.draw) else 0
        kept = self.draw > number - window
        return Draws(
            torch.cat((self.choices[kept], choices)),
            torch.cat((self.evidence[kept], evidence)),
            torch.cat((self.log_mixture[kept], log_mixture)),
            torch.cat((self.draw[kept], torch.full((len(choices),), number, device="cpu"))),
        )


class Update(NamedTuple):
    """phi (T, E, L): the posterior's logits. effective: sample size of the tempered weights e^{βℓ}p/m, in cells; beta:
    what was used."""

    phi: Tensor
    effective: float
    beta: float


def draw_cells(space: Space, logits: Tensor, uniform: float, key: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Cells from (1 − uniform)·q + uniform·u: choices (cells, T, E), and their log-densities (cells,), float64."""
    q, u = IndependentEdges(space, logits.detach().cpu()), IndependentEdges.uniform(space)
    from_u = torch.rand(cells, generator=generator(fold_in(key, 0)), device="cpu") < uniform
    drawn, flat = q.sample(fold_in(key, 1), cells), u.sample(fold_in(key, 2), cells)
    choices = torch.where(from_u.view(-1, 1, 1), flat, drawn)
    parts = [math.log(w) + d.log_prob(choices) for w, d in ((1.0 - uniform, q), (uniform, u)) if w > 0.0]
    return choices, torch.logsumexp(torch.stack(parts), dim=0)


def posterior_logits(
    space: Space, prior_logits: Tensor, draws: Draws, config: ArchitectureConfig, kappa: float
) -> Update:
    """φ that follows from a prior's logits (T, E, L) and measured cells; of the prior's dtype.

    regression: E_q[βℓ] − κ·KL(q ‖ p) is maximal at q ∝ p·exp(βℓ/κ). With ℓ linear in the primitives of the edges,
    as fitted to the measured cells by ridge regression, that is again a product of categoricals (the regression
    estimate of a natural gradient, Salimans & Knowles 2013):

        φ = log p + (DᵀD + ridge·I)⁻¹ Dᵀ (β/κ)(ℓ − mean ℓ),    D = one-hot(z) − its mean, within each draw

    importance: the weights w_k ∝ p(z_k)/m(z_k)·exp(βℓ_k/κ) of cells drawn from m estimate q's probabilities (PARSEC,
    Casale et al. 2019). β is lowered until the effective sample size 1/Σw² is large enough, and the estimate is mixed
    with p as with `ridge` pseudo-observations.
    """
    log_p = torch.log_softmax(prior_logits.detach().cpu().double(), dim=-1)
    beta = config.beta / kappa
    gain = draws.evidence - _draw_means(draws.evidence, draws)
    log_w = IndependentEdges(space, log_p).log_prob(draws.choices) - draws.log_mixture
    share = config.effective if config.rule == "importance" else 0.0
    beta_used, weights = tempered(log_w, gain, beta, share * len(gain))
    effective = float(1.0 / weights.square().sum())
    d = F.one_hot(draws.choices, space.num_primitives).double()
    if config.rule == "importance":
        observed = (weights.view(-1, 1, 1, 1) * d).sum(dim=0)
        q = (effective * observed + config.ridge * log_p.exp()) / (effective + config.ridge)
        phi = q.log()
    else:
        d = d.flatten(1)
        d = d - _draw_means(d, draws)
        system = d.T @ d + config.ridge * torch.eye(d.shape[1], dtype=torch.float64, device="cpu")
        phi = log_p + torch.linalg.solve(system, d.T @ (beta * gain)).view_as(log_p)
    return Update(torch.log_softmax(phi, dim=-1).to(prior_logits), effective, beta_used)


def agreement(space: Space, prior_logits: Tensor, draws: Draws) -> float:
    """Correlation of what the prior and the evidence say of the drawn cells, within draws: of log p(z) with ℓ.

    0 where one of them says nothing, as a uniform prior does.
    """
    log_p = IndependentEdges(space, prior_logits.detach().cpu().double()).log_prob(draws.choices)
    a, b = log_p - _draw_means(log_p, draws), draws.evidence - _draw_means(draws.evidence, draws)
    size = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / size) if float(size) > 1e-9 else 0.0


def belief(found: float, usual: float | None, cells: int, pseudo: float) -> float:
    """How much of the prior is believed on a new task: the share w of log p that counts, in [0, 1].

    On tasks like those that it was learned on, the prior agrees with the evidence as it `usual`ly did there, and all
    of it counts. The further a task is from them, the less: w tends to found/usual as cells are measured, from 1
    before any, `pseudo` cells counting for as much as those measured.
    """
    if usual is None or usual <= 0.0:
        return 1.0
    share = min(max(found / usual, 0.0), 1.0)
    return (pseudo + cells * share) / (pseudo + cells)


def _draw_means(x: Tensor, draws: Draws) -> Tensor:
    """The mean of each row's draw, row by row."""
    if len(x) == 0:
        return x
    number = draws.draw - draws.draw.min()
    sums = x.new_zeros((int(number.max()) + 1, *x.shape[1:])).index_add(0, number, x)
    counts = torch.bincount(number).to(x).clamp_min(1).view(-1, *[1] * (x.dim() - 1))
    return (sums / counts)[number]


def tempered(log_w: Tensor, gain: Tensor, beta: float, effective: float) -> tuple[float, Tensor]:
    """Importance weights w ∝ exp(log_w + b·gain) that sum to one, held back until enough of them count.

    Args:
        log_w: (K,) log-weights without the evidence.
        gain: (K,) evidence.
        beta: the largest weight b of the evidence.
        effective: the smallest effective sample size 1/Σw².

    Returns:
        the largest b up to `beta` at which the effective sample size is reached, else 0; the weights (K,) at that b.
    """

    def weights(b: float) -> Tensor:
        return torch.softmax(log_w + b * gain, dim=0)

    if float(1.0 / weights(beta).square().sum()) >= effective:
        return beta, weights(beta)
    low, high = 0.0, beta
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if float(1.0 / weights(middle).square().sum()) >= effective else (low, middle)
    return low, weights(low)


def moved_prior(prior_logits: Tensor, posteriors: list[Tensor], rate: float, floor: float) -> Tensor:
    """The prior's logits after an M-step: p ← (1 − rate)·p + rate·mean of the tasks' q, in probabilities.

    A full step (rate 1) maximizes Σ_tasks E_q[log p(z)] over products of categoricals. No probability falls below
    `floor`: what has been ruled out on some tasks can still be seen on others.

    Args:
        prior_logits: (T, E, L).
        posteriors: logits (T, E, L), one for each task.
        rate: in (0, 1].
        floor: below 1/L.
    """
    p = torch.softmax(prior_logits.double(), dim=-1)
    q = torch.stack([torch.softmax(phi.double(), dim=-1) for phi in posteriors]).mean(dim=0)
    p = ((1.0 - rate) * p + rate * q).clamp_min(floor)
    return (p / p.sum(dim=-1, keepdim=True)).log().to(prior_logits)
