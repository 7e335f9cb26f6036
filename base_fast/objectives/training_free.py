"""Scores of untrained networks: what a genotype's network looks like on one batch of images, at its first weights."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.device import resolve
from base_fast.errors import InputError
from base_fast.evaluation import Network, NetworkConfig, count_parameters
from base_fast.objectives.networks import build
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.objectives.workers import map_on_cores
from base_fast.random import fold_in, generator
from base_fast.space import Space
from base_fast.tasks import Task

Score = Literal["naswot", "jacov", "synflow", "gain", "identity", "parameters"]
_NONE = "none"
# k of the published score, which bounds what an eigenvalue of 0 costs.
_JACOV_OFFSET = 1e-5
_LOOKS = {"naswot", "jacov", "gain", "identity"}
"""Scores that look at images."""
_SEEDS = 2**31


@dataclass(frozen=True)
class TrainingFreeConfig:
    """Which scores, on how many images."""

    scores: tuple[Score, ...] = ("naswot", "jacov")
    """naswot: how many images the ReLUs tell apart. jacov: how little the Jacobians of different images correlate.
    synflow: how much flows through all weights. gain: how much of its input a cell passes on. identity: how much of
    each channel of it to that same channel. parameters: how many weights there are."""
    batch_size: int = 64
    """Images in the batch, at least 2; all of the training images, where they are fewer."""
    resolution: int | None = None
    """Side to which larger images are shrunk, by averages; None leaves them as they are."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if not self.scores or not set(self.scores) <= set(get_args(Score)) or len(set(self.scores)) < len(self.scores):
            raise InputError(
                f"scores: got {list(self.scores)}, expected different ones of {', '.join(get_args(Score))}"
            )
        if self.batch_size < 2:
            raise InputError(f"batch_size: got {self.batch_size}, expected an integer ≥ 2")
        if self.resolution is not None and self.resolution < 1:
            raise InputError(f"resolution: got {self.resolution}, expected an integer ≥ 1")


class TrainingFree(Objective):
    """Scores of a genotype's untrained network, all of them the larger the better, on one batch of training images.

    Weights and batch come from the key alone: in one call all genotypes see the same images, and a genotype's scores
    don't depend on those measured with it.

    A genotype with a cell that connects no input to its output has the same logits for all images. It gets the lowest
    value that a score can have: naswot 0, jacov −B (log k + 1/k) with k = 1e-5 and B images, the others 0.

    Args:
        space: with cells.
        task: whose training images, and classes.
        network: size and skeleton; without its auxiliary head.
        config: which scores.

    Raises:
        InputError: the score jacov with another skeleton than "nas_bench_201" (see `jacov`), or one training image.
    """

    def __init__(
        self, space: Space, task: Task, network: NetworkConfig, config: TrainingFreeConfig = TrainingFreeConfig()
    ) -> None:
        if "jacov" in config.scores and network.skeleton != "nas_bench_201":
            raise InputError(
                f"scores: got 'jacov' with skeleton {network.skeleton!r}, expected 'nas_bench_201', or other scores: "
                "where the cells' last batch norms are pooled and summed over the batch, the Jacobian is 0"
            )
        if len(task.train) < 2:
            raise InputError("task: got 1 training image, expected at least 2 to tell apart")
        self.space: Space = space
        self.task, self.network, self.config = task, replace(network, auxiliary=False), config
        self.quantities = tuple(Quantity(score, "larger", "") for score in config.scores)
        self.costs = ("images",)

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        seed = int(fold_in(key, 0)[0]) % _SEEDS
        x, _ = self.task.train.batch(fold_in(key, 1), 0, self.config.batch_size)
        x = x.to(resolve(self.network.device))
        side = self.config.resolution
        if side is not None and side < x.shape[-1]:
            x = F.adaptive_avg_pool2d(x, side)
        images = float(len(x)) if _LOOKS & set(self.config.scores) else 0.0

        def measured(z: Tensor) -> tuple[list[float], float]:
            if connected(z, self.space):
                network = build(z, self.space, self.network, self.task.num_classes, seed)
                scores = self._scores(network, x, fold_in(key, 2))
                return [scores[score] for score in self.config.scores], images
            lowest = {"jacov": jacov(torch.zeros(len(x), 1, device="cpu"))}
            return [lowest.get(score, 0.0) for score in self.config.scores], 0.0

        found = map_on_cores(measured, list(choices))
        values = torch.tensor([scores for scores, _ in found], dtype=torch.float64, device="cpu").view(
            -1, len(self.quantities)
        )
        return Measurements(
            values, torch.tensor([[cost] for _, cost in found], dtype=torch.float64, device="cpu").view(-1, 1)
        )

    def _scores(self, network: Network, x: Tensor, key: Tensor) -> dict[str, float]:
        wanted, scores = set(self.config.scores), {}
        if "parameters" in wanted:
            scores["parameters"] = float(count_parameters(network))
        if "synflow" in wanted:
            scores["synflow"] = synflow(network, tuple(x.shape[1:]))
        if wanted & _LOOKS:
            network.requires_grad_(False).train()
            x = x.detach().requires_grad_(bool(wanted & _LOOKS - {"naswot"}))
            with ExitStack() as hooks:
                # It costs a product for each ReLU.
                agreement = hooks.enter_context(relu_agreement(network, len(x))) if "naswot" in wanted else None
                outputs = hooks.enter_context(cell_outputs(network))
                logits = network(x)
            if agreement is not None:
                scores["naswot"] = naswot(agreement)
            if wanted & {"gain", "identity"}:
                scores["gain"], scores["identity"] = gain_and_identity(outputs, key)
            if "jacov" in wanted:
                scores["jacov"] = jacov(torch.autograd.grad(logits.sum(), x)[0].flatten(1))
        return scores


def naswot(agreement: Tensor) -> float:
    """log |det K| of the ReLUs' agreement K (B, B); 0 where det K is 0.

    No other value is lower: K holds integers, so that |det K| is at least 1 where it is not 0.

    Source: Mellor, Turner, Storkey, Crowley, Neural Architecture Search without Training, ICML 2021.
    """
    return max(0.0, float(torch.linalg.slogdet(agreement).logabsdet))


def jacov(jacobian: Tensor) -> float:
    """−Σ (log(v + k) + 1/(v + k)) over the eigenvalues v of the correlations between images' Jacobians, k = 1e-5.

    A Jacobian without variance correlates with none, nor with itself. As published, the Jacobian is that of the sum of
    all logits, with batch norms that take the statistics of the batch. What leaves such a batch norm sums to zero over
    the batch whatever the images were, so that a network which only pools it, as DARTS's do, has no such Jacobian: all
    of it is rounding.

    Args:
        jacobian: (B, D), a row for each image.

    Source: Mellor et al., Neural Architecture Search without Training, arXiv:2006.04647v1, 2020; Abdelfattah et al.,
    Zero-Cost Proxies for Lightweight NAS, ICLR 2021 (there `jacob_cov`).
    """
    rows = jacobian.double()
    rows = F.normalize(rows - rows.mean(dim=1, keepdim=True), dim=1, eps=torch.finfo(torch.float64).tiny)
    v = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0.0) + _JACOV_OFFSET
    return -float((v.log() + 1 / v).sum())


def synflow(network: Network, image: tuple[int, ...]) -> float:
    """log(1 + Σ |θ · ∂R/∂θ|), R the sum of the logits of an image of ones at weights |θ|, in float64.

    The sum is over convolutions' and linear weights; batch norms have their first running statistics, which leave
    values as they are (up to their ε). The network is left alone.

    Args:
        network: untrained.
        image: (3, H, W).

    Source: Tanaka, Kunin, Yamins, Ganguli, Pruning neural networks without any data by iteratively conserving synaptic
    flow, NeurIPS 2020; as a score, Abdelfattah et al. 2021.
    """
    network = copy.deepcopy(network).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    total = network(torch.ones(1, *image, device="cpu").to(weights[0])).sum()
    # DARTS's modules that no edge reads have no gradient.
    gradients = torch.autograd.grad(total, weights, allow_unused=True)
    flows = [(w.detach() * g).abs().sum() for w, g in zip(weights, gradients, strict=True) if g is not None]
    return math.log1p(float(torch.stack(flows).sum()))


def gain_and_identity(outputs: Sequence[Tensor], key: Tensor) -> tuple[float, float]:
    """How much of its input a cell passes on, position by position: of the `mean_jacobian`, the mean singular value,
    and the mean of the diagonal.

    In the mean over positions random convolutions cancel, and shortcuts do not. Both are means over the cells that keep
    the shape of their input; 0 where there is none.

    Args:
        outputs: of the cells in their order, (B, C, H, W) each, on one graph, which stays.
        key: of the estimate.
    """
    pairs = [(before, after) for before, after in itertools.pairwise(outputs) if before.shape == after.shape]
    if not pairs:
        return 0.0, 0.0
    jacobians = [mean_jacobian(*pair, fold_in(key, number)) for number, pair in enumerate(pairs)]
    gains = [float(torch.linalg.svdvals(jacobian).mean()) for jacobian in jacobians]
    return fmean(gains), fmean(float(jacobian.diagonal().mean()) for jacobian in jacobians)


def mean_jacobian(before: Tensor, after: Tensor, key: Tensor) -> Tensor:
    """J (C, C'), the mean over images and positions of ∂ after[:, j, h, w] / ∂ before[:, i, h, w], estimated.

    With random signs r it is the mean of (∂ Σ r·after / ∂ before) rᵀ, whose expectation leaves the pairs of equal
    position alone.

    Args:
        before: (B, C, H, W).
        after: (B, C', H, W), with `before` in its graph, which stays.
        key: of the signs.

    Source: Lee & Ham, AZ-NAS, CVPR 2024, who score how close its largest singular value is to 1.
    """
    bits = torch.randint(2, after.shape, generator=generator(key), device="cpu")
    signs = (2 * bits - 1).to(after)
    (passed,) = torch.autograd.grad(after, before, signs, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.einsum("bchw,bdhw->cd", passed, signs) / signs[:, 0].numel()


@contextmanager
def relu_agreement(network: nn.Module, batch: int) -> Iterator[Tensor]:
    """K (B, B) float64: for two images, how many of the units after ReLUs are on for both or off for both.

    It is filled while the network runs on the batch within the context.
    """
    found = torch.zeros(batch, batch, dtype=torch.float64, device=next(network.parameters()).device)

    def add(module: nn.Module, inputs: Any, out: Tensor) -> None:
        # Counts below 2²⁴ are exact in float32.
        on = out.detach().flatten(1).sign()
        both = on @ on.T
        found.add_(on.shape[1] - both.diag().unsqueeze(1) - both.diag() + 2 * both)

    hooks = [module.register_forward_hook(add) for module in network.modules() if isinstance(module, nn.ReLU)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def cell_outputs(network: Network) -> Iterator[list[Tensor]]:
    """What the cells put out, in their order; it is filled while the network runs within the context."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, out: Tensor) -> None:
        outputs.append(out)

    hooks = [cell.register_forward_hook(keep) for cell in network.cells]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def connected(choices: Tensor, space: Space) -> bool:
    """Whether every cell of choices (T, E) has a path from an input to its output."""
    for cell in choices.tolist():
        reached = set(range(space.inputs))
        for (predecessor, node), number in zip(space.edges, cell, strict=True):
            if predecessor in reached and space.primitives[number] != _NONE:
                reached.add(node)
        if not reached & set(space.concat):
            return False
    return True
