"""What an earlier search believes of a genotype: its probability under the posterior or distribution that was left."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from base_fast.distributions import Distribution, load_distribution
from base_fast.errors import InputError
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.posterior import Posterior
from base_fast.runs import load_tensors
from base_fast.space import AnySpace


class Belief(Objective):
    """log q(z) of a genotype under a distribution, such as BASE's posterior: what it costs is nothing, and what it says
    is as good as the search that left it."""

    quantities = (Quantity("log_probability", "larger", "nats"),)
    costs = ()

    def __init__(self, distribution: Distribution) -> None:
        self.space, self.distribution = distribution.space, distribution

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        with torch.no_grad():
            found = self.distribution.log_prob(choices).double()
        # Impossible under it is no number that a search could weigh.
        lowest = torch.finfo(torch.float32).min
        none = torch.empty(len(choices), 0, dtype=torch.float64, device="cpu")
        return Measurements(found.clamp_min(lowest).unsqueeze(1), none)


def open_belief(path: Path | None, space: AnySpace, name: str) -> Distribution:
    """The distribution over genotypes in a file of either kind.

    Args:
        path: posterior.safetensors (its q(z)) or distribution.safetensors.
        space: whose genotypes it has to draw.
        name: of the setting, for messages.

    Raises:
        InputError: no file, another kind of file, or of another space.
    """
    if path is None:
        raise InputError(f"{name}: not given, expected a posterior.safetensors or a distribution.safetensors")
    path = path.expanduser()
    posterior = load_tensors(path)[1].get("kind") == "posterior"
    found = Posterior.load(path).architecture if posterior else load_distribution(path)
    if found.space != space:
        raise InputError(f"{name}: {path} is over genotypes of {found.space.name!r}, expected {space.name!r}")
    return found
