"""A drop-in Bayesian linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.nn.bayesian import BayesianLayer
from base_fast.nn.plain_layer import check_plain


class BayesianLinear(BayesianLayer):
    """`torch.nn.Linear` with a Gaussian weight and bias; see `BayesianLayer` for which draw a pass uses.

    Args:
        in_features, out_features, bias, device, dtype: as for `torch.nn.Linear`; the means start as its weights do.
        prior_mu, prior_sigma: of every weight; `set_prior` sets one for each.
        sigma_scale: initial σ in standard deviations of the initial means.

    Raises:
        InputError: for sizes below one, or numbers that are no mean or standard deviation.
    """

    plain = nn.Linear

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        prior_mu: float = 0.0,
        prior_sigma: float = 1.0,
        sigma_scale: float = 0.1,
    ) -> None:
        in_features, out_features = integer("in_features", in_features, 1), integer("out_features", out_features, 1)
        plain = nn.Linear(in_features, out_features, bias, device="meta")
        super().__init__(plain, device, dtype, prior_mu, prior_sigma, sigma_scale)
        self.in_features, self.out_features = in_features, out_features

    @classmethod
    def from_plain(
        cls, layer: nn.Module, *, prior_mu: float = 0.0, prior_sigma: float = 1.0, sigma_scale: float = 0.1
    ) -> BayesianLinear:
        """A Bayesian layer whose means are a copy of a plain layer's weights.

        Raises:
            InputError: for another layer, or one that computes something else: a subclass with a forward pass of its
                own, hooks, parametrizations, quantization.
        """
        weight = check_plain(layer, nn.Linear)
        outs, ins = weight.shape
        found = cls(
            ins,
            outs,
            layer.bias is not None,
            weight.device,
            weight.dtype,
            prior_mu=prior_mu,
            prior_sigma=prior_sigma,
            sigma_scale=sigma_scale,
        )
        found._take_means(layer)
        return found

    @classmethod
    def from_linear(cls, linear: nn.Linear, **prior: float) -> BayesianLinear:
        """`from_plain`, for a linear layer."""
        return cls.from_plain(linear, **prior)

    def mean_layer(self) -> nn.Linear:
        """A plain layer whose weights are a copy of the means."""
        mu = self.weight_mu
        return self._give_means(
            nn.utils.skip_init(
                nn.Linear,
                self.in_features,
                self.out_features,
                self.bias_mu is not None,
                device=mu.device,
                dtype=mu.dtype,
            )
        )

    def _check(self, x: Tensor) -> None:
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise InputError(f"x: got shape {tuple(x.shape)}, expected (..., {self.in_features})")

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return nn.functional.linear(x, weight, bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias_mu is not None}, "
            f"{self._repr_of_prior()}"
        )
