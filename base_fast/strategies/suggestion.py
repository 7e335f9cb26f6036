"""What a value network suggests for a task, before anything is trained on it."""

from __future__ import annotations

from typing import Any

import torch

from base_fast.distributions import Empirical
from base_fast.objectives import Quantity
from base_fast.predictors import AscentConfig, Climbed, ValueNetwork, climb
from base_fast.space import compact, decode
from base_fast.strategies.strategy import Result
from base_fast.tasks import TaskDescription

PREDICTED = Quantity("predicted", "larger", "sd")


def suggest(network: ValueNetwork, task: TaskDescription, config: AscentConfig | None = None) -> Result:
    """Genotypes for a task by gradient ascent on the network's value: the first is the best by it.

    Args:
        task: what `tasks.describe` says of its training images.

    Returns:
        Of the different genotypes that the starts ended in, ranked by value, a distribution with probabilities
        proportional to exp(value / temperature), and a row of the history each, best first.
    """
    config = config or AscentConfig()
    climbed = climb(network, task, config)
    return suggested(network, climbed, config)


def suggested(network: ValueNetwork, climbed: Climbed, config: AscentConfig) -> Result:
    """What an ascent came to, as the result of a search."""
    space, values = network.space, climbed.values.double()
    history: list[dict[str, Any]] = [
        {
            "step": i + 1,
            "values": {PREDICTED.name: value},
            "best": values[0].item(),
            "genotype": compact(climbed.choices[i].numpy(), space),
        }
        for i, value in enumerate(values.tolist())
    ]
    rounded = (climbed.discrete >= climbed.relaxed - 0.1).double().mean().item()
    return Result(
        Empirical(space, climbed.choices, torch.softmax(values / config.temperature, dim=0)),
        decode(climbed.choices[0].numpy(), space),
        (PREDICTED,),
        history,
        {"starts": float(config.starts), "ascent steps": float(config.steps)},
        notes=(f"{rounded:.0%} of the starts lost at most 0.1 sd when they were made genotypes.",),
    )
