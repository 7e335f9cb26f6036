"""The flat Gaussian × categorical distribution that is a prior or a task's posterior; both have one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.posterior.layout import Layout
from base_fast.runs.storage import load_tensors, save_tensors
from base_fast.space import Space

FORMAT = 1


def inverse_softplus(sigma: Tensor) -> Tensor:
    """ρ with softplus(ρ) = σ > 0, accurate for small σ too."""
    return sigma + torch.log(-torch.expm1(-sigma))


# What a posterior can be kept in; its kernels take the first three.
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class Posterior:
    """θ ~ N(μ, softplus(ρ)²) for the supernet's weights, z_e ~ Categorical(softmax α_e) for every edge.

    Attributes:
        mu, rho: (P,) floating point, laid out as `layout` says.
        alpha: (T, E, L) edge logits per cell type.
        layout: names, shapes and offsets of the P weights.
        space: the search space.
        config: what the supernet was built with (`SupernetConfig` as a dict).
        lineage: how it came to be, oldest first, one dict per meta-training or adaptation.
    """

    mu: Tensor
    rho: Tensor
    alpha: Tensor
    layout: Layout
    space: Space
    config: dict[str, Any]
    lineage: tuple[dict[str, Any], ...] = field(default=())

    def __post_init__(self) -> None:
        for name, x in (("mu", self.mu), ("rho", self.rho)):
            if tuple(x.shape) != (self.layout.numel,):
                raise InputError(f"{name}: got shape {tuple(x.shape)}, expected ({self.layout.numel},) from the layout")
        if not isinstance(self.config, dict):
            raise InputError(f"config: got {type(self.config).__name__}, expected a dict")
        for name, x in (("mu", self.mu), ("rho", self.rho), ("alpha", self.alpha)):
            if not x.is_floating_point():
                raise InputError(f"{name}: got {x.dtype}, expected a floating-point tensor")
        expected = (len(self.space.cell_types), self.space.num_edges, self.space.num_primitives)
        if tuple(self.alpha.shape) != expected:
            raise InputError(
                f"alpha: got shape {tuple(self.alpha.shape)}, expected {expected} from space {self.space.name!r}"
            )

    @property
    def sigma(self) -> Tensor:
        """(P,) standard deviations."""
        return softplus(self.rho)

    @property
    def probabilities(self) -> Tensor:
        """(T, E, L): softmax of the edge logits."""
        return torch.softmax(self.alpha, dim=-1)

    @property
    def entropy(self) -> Tensor:
        """(T,): mean entropy of an edge in nats, per cell type; at most ln L."""
        return mean_entropy(self.alpha)

    @property
    def architecture(self) -> IndependentEdges:
        """The distribution over genotypes: q(z), given that z is a genotype of the space."""
        return IndependentEdges(self.space, self.alpha)

    def evolve(self, values: Sequence[Tensor], event: dict[str, Any]) -> Posterior:
        """The same distribution with other values of (mu, rho, alpha), and `event` added to its lineage."""
        mu, rho, alpha = (x.detach() for x in values)
        return replace(self, mu=mu, rho=rho, alpha=alpha, lineage=(*self.lineage, event))

    def to(self, device: torch.device | str) -> Posterior:
        """The same distribution on another device."""
        return replace(self, mu=self.mu.to(device), rho=self.rho.to(device), alpha=self.alpha.to(device))

    def save(self, path: str | Path) -> None:
        """Write safetensors with a JSON header, atomically."""
        header = {
            "format": FORMAT,
            "kind": "posterior",
            "space": self.space.to_dict(),
            "layout": {"names": list(self.layout.names), "shapes": [list(s) for s in self.layout.shapes]},
            "config": self.config,
            "lineage": list(self.lineage),
        }
        save_tensors(path, {"mu": self.mu, "rho": self.rho, "alpha": self.alpha}, header)

    @classmethod
    def load(cls, path: str | Path) -> Posterior:
        """Read and validate what `save` wrote; executes no code.

        Raises:
            InputError: the file is missing, truncated, of another format or kind, or inconsistent in itself.
        """
        tensors, header = load_tensors(path)
        if header.get("kind") != "posterior":
            raise InputError(f"{path}: got a file of kind {header.get('kind')!r}, expected a posterior")
        if header.get("format") != FORMAT:
            raise InputError(
                f"{path}: got format {header.get('format')!r}, expected {FORMAT}, which this version reads"
            )
        narrow = [f"{name}: got {x.dtype}" for name, x in tensors.items() if x.dtype not in DTYPES]
        if narrow:
            raise InputError(f"{path}: {narrow[0]}, expected a floating-point tensor of 16 to 64 bits")
        infinite = [name for name, x in tensors.items() if not x.isfinite().all()]
        if infinite:
            raise InputError(f"{path}: {infinite[0]} holds NaN or infinity; use an earlier posterior")
        missing = {"mu", "rho", "alpha"} - tensors.keys()
        if missing:
            raise InputError(f"{path}: tensors missing: {', '.join(sorted(missing))}")
        try:
            layout = Layout(
                tuple(header["layout"]["names"]), tuple(tuple(shape) for shape in header["layout"]["shapes"])
            )
            return cls(
                tensors["mu"],
                tensors["rho"],
                tensors["alpha"],
                layout,
                Space.from_dict(header["space"]),
                header["config"],
                tuple(header["lineage"]),
            )
        except KeyError as error:
            raise InputError(f"{path}: the header has no field {error}") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: the header is malformed ({error})") from None


def mean_entropy(alpha: Tensor) -> Tensor:
    """(T, E, L) edge logits → (T,) mean entropy of an edge in nats."""
    log_pi = torch.log_softmax(alpha, dim=-1)
    return -(log_pi.exp() * log_pi).sum(dim=-1).mean(dim=-1)
