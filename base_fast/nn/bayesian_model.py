"""What is done to all Bayesian layers of a model at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.nn.bayesian import BayesianLayer
from base_fast.ops.checks import key_on
from base_fast.random import fold_in


def seed(model: nn.Module, key: Tensor) -> None:
    """Give the i-th Bayesian layer of a model, in module order, the own key `fold_in(key, i)`.

    Args:
        model: or a single layer.
        key: int64 (2,).

    Raises:
        InputError: the model has no Bayesian layer.
    """
    for layer, own in _keys(model, key):
        layer.key.copy_(own)


@contextmanager
def sampled(model: nn.Module, key: Tensor) -> Iterator[None]:
    """One draw of the whole model: inside, layer i uses the noise of `fold_in(key, i)` in every pass and every mode.

    The layers' own keys stay as they are. With it, a model in `eval()` gives samples of its predictions, a pass can be
    replayed, and both runs of activation checkpointing see the same noise.

    Args:
        model: or a single layer.
        key: int64 (2,).

    Raises:
        InputError: the model has no Bayesian layer.
    """
    given = [(layer, own.to(layer.key.device)) for layer, own in _keys(model, key)]
    before = [layer._given_key for layer, _ in given]
    try:
        for layer, own in given:
            layer._given_key = own
        yield
    finally:
        for (layer, _), previous in zip(given, before, strict=True):
            layer._given_key = previous


def kl(model: nn.Module, *, dataset_size: int) -> Tensor:
    """KL of a model's Bayesian layers from their priors, per training example: Σ KL / dataset_size, a scalar.

    Add it to a loss that is a mean over examples.

    Args:
        model: or a single layer.
        dataset_size: N, the number of training examples; not the batch size.

    Raises:
        InputError: the model has no Bayesian layer, or `dataset_size` is no positive integer.
    """
    return _per_example([layer.kl() for layer in bayesian_layers(model)], dataset_size)


class CollectedKL:
    """The KLs that `collect_kl` found; call it for `bf.nn.kl(model, dataset_size=...)` of that moment."""

    def __init__(self, model: nn.Module) -> None:
        self.found: list[tuple[BayesianLayer, list[Tensor]]] = [(layer, []) for layer in bayesian_layers(model)]

    def __call__(self, *, dataset_size: int) -> Tensor:
        # A layer that drew nothing (eval mode, a branch not taken) has its KL all the same.
        return _per_example([kls[0] if kls else layer.kl() for layer, kls in self.found], dataset_size)


@contextmanager
def collect_kl(model: nn.Module) -> Iterator[CollectedKL]:
    """Inside, layers compute their KL in the pass over the weights that draws them, which is faster than `bf.nn.kl`.

        with bf.nn.collect_kl(model) as kl:
            loss = cross_entropy(model(x), y)
        (loss + kl(dataset_size=N)).backward()

    The layers keep nothing afterwards. Under activation checkpointing use `bf.nn.kl`: the second run happens outside.

    Args:
        model: or a single layer.

    Raises:
        InputError: the model has no Bayesian layer.
    """
    collected = CollectedKL(model)
    before = [layer._kls for layer, _ in collected.found]
    try:
        for layer, kls in collected.found:
            layer._kls = kls
        yield collected
    finally:
        for (layer, _), previous in zip(collected.found, before, strict=True):
            layer._kls = previous


def set_prior(model: nn.Module, other: nn.Module) -> None:
    """Make the present distribution of `other`, or of the model itself, the prior of a model: layer by layer, by name.

    Args:
        model: or a single layer.
        other: has a Bayesian layer of the same shape wherever the model has one.

    Raises:
        InputError: where `other` has not, or the model has none.
    """
    wanted = set(bayesian_layers(model))
    others = dict(other.named_modules())
    for name, layer in model.named_modules():
        if layer in wanted:
            previous = others.get(name)
            if not isinstance(previous, BayesianLayer):
                raise InputError(f"other: it has no Bayesian layer {name!r}")
            layer.set_prior(previous)


def bayesian_layers(model: nn.Module) -> list[BayesianLayer]:
    """A model's Bayesian layers in module order, each once."""
    layers = [module for module in model.modules() if isinstance(module, BayesianLayer)]
    if not layers:
        raise InputError(f"model: got {type(model).__name__} without a Bayesian layer, expected at least one")
    return layers


def _keys(model: nn.Module, key: Tensor) -> list[tuple[BayesianLayer, Tensor]]:
    key_on(key, key.device if isinstance(key, Tensor) else torch.device("cpu"))
    return [(layer, fold_in(key, i)) for i, layer in enumerate(bayesian_layers(model))]


def _per_example(kls: list[Tensor], dataset_size: int) -> Tensor:
    return torch.stack(kls).sum() / integer("dataset_size", dataset_size, 1)
