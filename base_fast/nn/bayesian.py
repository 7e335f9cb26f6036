"""What the Bayesian layers share: a Gaussian weight and bias, their prior, and the key of their noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from base_fast import ops
from base_fast.errors import InputError
from base_fast.nn.own_key import ahead, blocks_of, next_key

Plain = TypeVar("Plain", bound=nn.Module)


class BayesianLayer(nn.Module):
    """A layer whose weight and bias are drawn anew: θ = μ + softplus(ρ)·ε, ε ~ N(0, I) (Blundell et al. 2015).

    Which θ a forward pass uses:
        `layer(x, key=k)`           the draw of the key `k`, in any mode
        in `bf.nn.sampled(...)`     the draw of the key given there, in any mode
        `layer.train()`             the next draw of the layer's own key, the buffer `key`, which moves on
        `layer.eval()`              the mean μ

    The noise is never stored: the backward pass draws it again. Weight and bias take consecutive blocks of one noise
    stream. A fresh layer has a key from PyTorch's generator, as it has its means; `bf.nn.seed` sets it. A copy of a
    layer draws what the layer draws until it is seeded apart. The processes of `torch.distributed`, and the replicas of
    nn.DataParallel, draw noise of their own from one key: rank and device tell the streams apart.

    Activation checkpointing runs a forward pass twice, and the layer's own key moves on in between; so the second run
    is refused. There, pass a key, or use `bf.nn.sampled` for both runs.

    Parameters and buffers (dtype and device as for the plain layer):
        weight_mu, weight_rho, bias_mu, bias_rho: shaped like the plain layer's weight and bias.
        weight_prior_mu, weight_prior_rho, bias_prior_mu, bias_prior_rho: the same shapes, or (1,) for a scalar prior.
        key: int64 (2,).
    """

    weight_mu: nn.Parameter
    weight_rho: nn.Parameter
    bias_mu: nn.Parameter | None
    bias_rho: nn.Parameter | None
    key: Tensor

    def __init__(
        self,
        plain: nn.Module,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        prior_mu: float,
        prior_sigma: float,
        sigma_scale: float,
    ) -> None:
        """Register what a plain layer's weight and bias become; `plain` may be on the meta device."""
        super().__init__()
        if not math.isfinite(prior_mu):
            raise InputError(f"prior_mu: got {prior_mu!r}, expected a finite number")
        for name, value in (("prior_sigma", prior_sigma), ("sigma_scale", sigma_scale)):
            if not 0.0 < value < math.inf:
                raise InputError(f"{name}: got {value!r}, expected a finite number > 0")
        self.prior_mu, self.prior_sigma, self.sigma_scale = prior_mu, prior_sigma, sigma_scale
        for name in ("weight", "bias"):
            shaped = plain.get_parameter(name) if getattr(plain, name) is not None else None
            for part in ("mu", "rho"):
                empty = None if shaped is None else torch.empty(shaped.shape, device=device, dtype=dtype)
                scalar = None if shaped is None else torch.empty(1, device=device, dtype=dtype)
                self.register_parameter(f"{name}_{part}", None if empty is None else nn.Parameter(empty))
                self.register_buffer(f"{name}_prior_{part}", scalar)
        self.register_buffer("key", torch.empty(2, dtype=torch.int64, device=device))
        # What the context managers of `bayesian_model` set for a while.
        self._given_key: Tensor | None = None
        self._kls: list[Tensor] | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Everything as constructed: means as the plain layer draws them, σ, a scalar prior, an own key at its start.

        σ is `sigma_scale` standard deviations of the initial means, 1/√(3·fan_in).
        """
        fan_in = self.weight_mu[0].numel()
        bound = 1.0 / math.sqrt(fan_in)
        nn.init.kaiming_uniform_(self.weight_mu, a=math.sqrt(5))
        if self.bias_mu is not None:
            nn.init.uniform_(self.bias_mu, -bound, bound)
        with torch.no_grad():
            for name, _, rho in self._gaussians():
                rho.fill_(_rho(self.sigma_scale * bound / math.sqrt(3)))
                self._set_prior(name, rho.new_tensor([self.prior_mu]), rho.new_tensor([_rho(self.prior_sigma)]))
        self.key.random_()
        self.key[1] = 0

    def _gaussians(self) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
        """(name, μ, ρ) of the weight and, where there is one, the bias."""
        yield "weight", self.weight_mu, self.weight_rho
        if self.bias_mu is not None and self.bias_rho is not None:
            yield "bias", self.bias_mu, self.bias_rho

    # -- drawing -----------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:
        """What the plain layer computes, with a drawn weight and bias, or with their means (see the class).

        Args:
            x: as for the plain layer.
            key: int64 (2,) on the layer's device; the same key gives the same result, and the layer's own stays.

        Raises:
            InputError: for mismatched arguments, or in a second run by activation checkpointing without a key.
        """
        self._check(x)
        weight, bias = self._draw(key)
        return self._compute(x, weight, bias)

    def _check(self, x: Tensor) -> None:
        raise NotImplementedError

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _draw(self, key: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if key is None:
            key = self._given_key
        if key is None:
            if not self.training:
                return self.weight_mu, self.bias_mu
            # nn.DataParallel makes replicas, one per GPU, of layers that know nothing of each other.
            replica = (self.key.device.index or 0) if getattr(self, "_is_replica", False) else 0
            key = next_key(self.key, sum(blocks_of(mu.numel()) for _, mu, _ in self._gaussians()), replica)
        if self._kls is None or self._kls:
            return self.sample(key)
        weight, bias, kl = self.sample_kl(key)
        self._kls.append(kl)
        return weight, bias

    def sample(self, key: Tensor) -> tuple[Tensor, Tensor | None]:
        """Draw (weight, bias) with the noise of `key`, int64 (2,) on the layer's device; bias is None without one."""
        drawn: list[Tensor] = []
        for _, mu, rho in self._gaussians():
            drawn.append(ops.gaussian_sample(mu.flatten(), rho.flatten(), key).view(mu.shape))
            key = ahead(key, mu.numel())
        return drawn[0], drawn[1] if self.bias_mu is not None else None

    def sample_kl(self, key: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """`sample(key)` and `kl()` in one pass over the weights: (weight, bias, kl)."""
        drawn: list[Tensor] = []
        kls: list[Tensor] = []
        for name, mu, rho in self._gaussians():
            theta, kl = ops.gaussian_sample_kl(mu.flatten(), rho.flatten(), *self._prior(name), key)
            drawn.append(theta.view(mu.shape))
            kls.append(kl)
            key = ahead(key, mu.numel())
        return drawn[0], drawn[1] if self.bias_mu is not None else None, torch.stack(kls).sum()

    # -- prior and KL ------------------------------------------------------------------------------------------------

    def kl(self) -> Tensor:
        """KL of the layer's distribution from its prior in nats, summed over its weights: a scalar, not scaled."""
        kls = [ops.gaussian_kl(mu.flatten(), rho.flatten(), *self._prior(name)) for name, mu, rho in self._gaussians()]
        return torch.stack(kls).sum()

    def _prior(self, name: str) -> tuple[Tensor, Tensor]:
        """μ₀, ρ₀ as vectors, of one element for a scalar prior."""
        return self.get_buffer(f"{name}_prior_mu").flatten(), self.get_buffer(f"{name}_prior_rho").flatten()

    def set_prior(self, other: BayesianLayer) -> None:
        """Make the present distribution of a layer of this shape, or of this very layer, the prior.

        Args:
            other: for instance the layer itself after one task and before the next, or one made from a trained plain
                layer. Its values are copied.

        Raises:
            InputError: for a layer of other parameters.
        """
        if not isinstance(other, BayesianLayer):
            raise InputError(f"other: got {type(other).__name__}, expected a Bayesian layer")
        shapes, found = ({n: tuple(mu.shape) for n, mu, _ in layer._gaussians()} for layer in (self, other))
        if found != shapes:
            raise InputError(f"other: got a layer with {found}, expected {shapes}")
        for (name, mu, _), (_, prior_mu, prior_rho) in zip(self._gaussians(), other._gaussians(), strict=True):
            self._set_prior(name, *(x.detach().to(mu, copy=True) for x in (prior_mu, prior_rho)))

    def _set_prior(self, name: str, mu: Tensor, rho: Tensor) -> None:
        setattr(self, f"{name}_prior_mu", mu)
        setattr(self, f"{name}_prior_rho", rho)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A scalar prior gives way to a full one and the other way round."""
        for name, mu, _ in self._gaussians():
            for part in ("mu", "rho"):
                buffer = f"{name}_prior_{part}"
                value = state_dict.get(prefix + buffer)
                if value is not None and tuple(value.shape) in ((1,), tuple(mu.shape)):
                    setattr(self, buffer, self.get_buffer(buffer).new_empty(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)

    # -- plain layers ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _take_means(self, plain: nn.Module) -> None:
        for name, mu, rho in self._gaussians():
            mean = plain.get_parameter(name)
            mu.copy_(mean)
            # What was frozen stays so.
            mu.requires_grad_(mean.requires_grad)
            rho.requires_grad_(mean.requires_grad)
        self.train(plain.training)

    @torch.no_grad()
    def _give_means(self, plain: Plain) -> Plain:
        for name, mu, _ in self._gaussians():
            plain.get_parameter(name).copy_(mu).requires_grad_(mu.requires_grad)
        plain.train(self.training)
        return plain

    def _repr_of_prior(self) -> str:
        if self.weight_prior_mu.shape == self.weight_mu.shape != (1,):
            return "prior=per weight"
        return f"prior_mu={self.prior_mu}, prior_sigma={self.prior_sigma}"


def _rho(sigma: float) -> float:
    """ρ with softplus(ρ) = σ > 0, accurate for small σ too."""
    return sigma + math.log(-math.expm1(-sigma))
