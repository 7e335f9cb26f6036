"""A drop-in Bayesian convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.nn.bayesian import BayesianLayer
from base_fast.reference.convolution import conv2d


class BayesianConv2d(BayesianLayer):
    """`torch.nn.Conv2d` with a Gaussian weight and bias; see `BayesianLayer` for which draw a pass uses.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as
            for `torch.nn.Conv2d`; the means start as its weights do.
        prior_mu, prior_sigma: of every weight; `set_prior` sets one for each.
        sigma_scale: initial σ in standard deviations of the initial means.

    Raises:
        InputError: for channels below one, or numbers that are no mean or standard deviation.
        ValueError: what `torch.nn.Conv2d` refuses.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        prior_mu: float = 0.0,
        prior_sigma: float = 1.0,
        sigma_scale: float = 0.1,
    ) -> None:
        in_channels, out_channels = integer("in_channels", in_channels, 1), integer("out_channels", out_channels, 1)
        plain: Any = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]
            "meta",
        )
        super().__init__(plain, device, dtype, prior_mu, prior_sigma, sigma_scale)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = plain.kernel_size, plain.stride, plain.padding
        self.dilation, self.groups, self.padding_mode = plain.dilation, groups, padding_mode
        # As F.pad takes it, for the modes that F.conv2d does not know.
        self._around: list[int] = list(plain._reversed_padding_repeated_twice)

    @classmethod
    def from_conv2d(
        cls, conv: nn.Conv2d, *, prior_mu: float = 0.0, prior_sigma: float = 1.0, sigma_scale: float = 0.1
    ) -> BayesianConv2d:
        """A Bayesian layer whose means are a copy of a plain layer's weights."""
        layer = cls(
            **_configuration(conv),
            bias=conv.bias is not None,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
            prior_mu=prior_mu,
            prior_sigma=prior_sigma,
            sigma_scale=sigma_scale,
        )
        layer._take_means(conv)
        return layer

    def mean_layer(self) -> nn.Conv2d:
        """A plain layer whose weights are a copy of the means."""
        mu = self.weight_mu
        bias = self.bias_mu is not None
        return self._give_means(
            nn.utils.skip_init(nn.Conv2d, **_configuration(self), bias=bias, device=mu.device, dtype=mu.dtype)
        )

    def _check(self, x: Tensor) -> None:
        if x.dim() not in (3, 4) or x.shape[-3] != self.in_channels:
            raise InputError(f"x: got shape {tuple(x.shape)}, expected (B, {self.in_channels}, H, W) or without B")

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = nn.functional.pad(x, self._around, mode=self.padding_mode), 0
        return conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        given = {**_configuration(self), "bias": self.bias_mu is not None}
        return f"{', '.join(f'{name}={value!r}' for name, value in given.items())}, {self._repr_of_prior()}"


def _configuration(conv: nn.Conv2d | BayesianConv2d) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {name: getattr(conv, name) for name in names}
