"""A model's plain layers made Bayesian, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import nn

from base_fast.errors import InputError
from base_fast.nn.bayesian import BayesianLayer
from base_fast.nn.bayesian_convolution import (
    BayesianConv1d,
    BayesianConv2d,
    BayesianConv3d,
    BayesianConvTranspose1d,
    BayesianConvTranspose2d,
    BayesianConvTranspose3d,
)
from base_fast.nn.bayesian_linear import BayesianLinear
from base_fast.nn.plain_layer import check_plain

_Kind: TypeAlias = type[Any]
_KINDS: tuple[_Kind, ...] = (
    *(BayesianLinear, BayesianConv1d, BayesianConv2d, BayesianConv3d),
    *(BayesianConvTranspose1d, BayesianConvTranspose2d, BayesianConvTranspose3d),
)
# Modules of PyTorch's that read the weights of their layers instead of calling them.
_READERS = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
# The least standard deviation that MOPED gives, where a weight is zero.
LEAST_SIGMA = 1e-6


def bayesian(
    model: nn.Module,
    *,
    moped: float | None = None,
    prior_mu: float = 0.0,
    prior_sigma: float = 1.0,
    sigma_scale: float = 0.1,
    layers: str | Sequence[str] = "*",
) -> nn.Module:
    """Replace, in place, the linear layers and convolutions of a model by Bayesian ones with its weights as means.

    In `eval()` the model computes what it did.

    Args:
        model: or a single layer.
        moped: δ: every weight w gets the prior N(w, prior_sigma²) and starts as N(w, (δ·|w|)²) (Krishnan et al. 2020,
            δ = 0.1 to 0.5). By default all have the prior N(prior_mu, prior_sigma²).
        prior_mu, prior_sigma, sigma_scale: as for `BayesianLinear`.
        layers: names of the layers to convert, as `model.named_modules()` has them, or patterns ("features.*").

    Returns:
        The model, or for a single layer its Bayesian twin.

    Raises:
        InputError: nothing to convert; a layer that computes something else than its class (subclasses, hooks,
            parametrizations, quantization), shares its weights, or is read by torch.nn.MultiheadAttention instead of
            called. The model is then as it was. `layers` can leave such a layer out.
    """
    patterns = (layers,) if isinstance(layers, str) else tuple(layers)
    if moped is not None and not 0.0 < moped < float("inf"):
        raise InputError(f"moped: got {moped!r}, expected a finite number > 0")
    chosen = {
        name: module
        for name, module in model.named_modules()
        if any(fnmatchcase(name, pattern) for pattern in patterns) and _is_candidate(module)
    }
    if not chosen:
        raise InputError(
            f"model: got {type(model).__name__} without a layer to convert among {', '.join(patterns)}, expected "
            "linear layers or convolutions"
        )
    _check_alone(model, chosen)
    twins: dict[nn.Module, nn.Module] = {}
    for name, module in chosen.items():
        kind = _kind_of(module, name or "model")
        twins[module] = kind.from_plain(module, prior_mu=prior_mu, prior_sigma=prior_sigma, sigma_scale=sigma_scale)
        if moped is not None:
            _moped(twins[module], moped)
    return _replaced(model, twins)


def plain(model: nn.Module) -> nn.Module:
    """Replace, in place, the Bayesian layers of a model by plain ones with their means as weights; returns the model.

    Raises:
        InputError: the model has none, or one with hooks.
    """
    found = [module for module in model.modules() if isinstance(module, BayesianLayer)]
    if not found:
        raise InputError(f"model: got {type(model).__name__} without a Bayesian layer, expected at least one")
    return _replaced(model, {layer: _mean(layer) for layer in found})


def _mean(layer: Any) -> nn.Module:
    mean: nn.Module = layer.mean_layer()
    return mean


def _is_candidate(module: nn.Module) -> bool:
    of_torch = (kind.plain for kind in _KINDS)
    quantized = "quantiz" in type(module).__module__ and hasattr(module, "weight")
    return isinstance(module, tuple(of_torch)) or quantized


def _kind_of(module: nn.Module, name: str) -> _Kind:
    kind = next((kind for kind in _KINDS if isinstance(module, kind.plain)), None)
    if kind is None:
        raise InputError(f"{name}: got {type(module).__module__}.{type(module).__name__}, expected no quantized layer")
    check_plain(module, kind.plain, name)
    return kind


def _check_alone(model: nn.Module, chosen: dict[str, nn.Module]) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _READERS):
            inside = [path for path in chosen if path.startswith(f"{name}." if name else "")]
            if inside:
                raise InputError(
                    f"{inside[0]}: got a layer of {type(module).__name__}, which reads its weights instead of calling "
                    "it; name the layers to convert in `layers`"
                )
    owners = Counter(id(p) for module in set(model.modules()) for p in module._parameters.values() if p is not None)
    for name, module in chosen.items():
        if any(owners[id(p)] > 1 for p in module._parameters.values() if p is not None):
            raise InputError(f"{name or 'model'}: got a layer that shares its weights with another, expected its own")


@torch.no_grad()
def _moped(layer: nn.Module, delta: float) -> None:
    assert isinstance(layer, BayesianLayer)
    for name, mu, rho in layer._gaussians():
        sigma = (delta * mu.double().abs()).clamp_min(LEAST_SIGMA)
        rho.copy_(sigma + torch.log(-torch.expm1(-sigma)))
        layer._set_prior(name, mu.detach().clone(), layer.get_buffer(f"{name}_prior_rho").expand_as(mu).clone())


def _replaced(model: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    # A layer may be registered in several places.
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in twins:
                parent._modules[name] = twins[child]
    return twins.get(model, model)
