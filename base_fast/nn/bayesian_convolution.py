"""Drop-in Bayesian convolutions, plain and transposed, in one, two and three dimensions."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.nn.bayesian import BayesianLayer
from base_fast.nn.plain_layer import check_plain
from base_fast.reference.convolution import conv2d

Size = int | tuple[int, ...]
Self = TypeVar("Self", bound="_AnyConvolution")


class _AnyConvolution(BayesianLayer):
    """What convolutions share: everything but what they compute."""

    plain: ClassVar[type[Any]]
    settings: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        given: dict[str, Any],
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        prior_mu: float,
        prior_sigma: float,
        sigma_scale: float,
    ) -> None:
        for name in ("in_channels", "out_channels", "groups"):
            given[name] = integer(name, given[name], 1)
        plain = self.plain(**given, bias=bias, device="meta")
        super().__init__(plain, device, dtype, prior_mu, prior_sigma, sigma_scale)
        for name in self.settings:
            setattr(self, name, getattr(plain, name))
        # As F.pad takes it, for the modes that no convolution knows.
        self._around: list[int] = list(getattr(plain, "_reversed_padding_repeated_twice", []))

    @classmethod
    def from_plain(
        cls: type[Self],
        layer: nn.Module,
        *,
        prior_mu: float = 0.0,
        prior_sigma: float = 1.0,
        sigma_scale: float = 0.1,
    ) -> Self:
        """A Bayesian layer whose means are a copy of a plain layer's weights.

        Raises:
            InputError: for another layer, or one that computes something else: a subclass with a forward pass of its
                own, hooks, parametrizations, quantization.
        """
        weight = check_plain(layer, cls.plain)
        made: Any = cls
        found: Self = made(
            **{name: getattr(layer, name) for name in cls.settings},
            bias=layer.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
            prior_mu=prior_mu,
            prior_sigma=prior_sigma,
            sigma_scale=sigma_scale,
        )
        found._take_means(layer)
        return found

    def mean_layer(self) -> Any:
        """A plain layer whose weights are a copy of the means."""
        mu = self.weight_mu
        given = {name: getattr(self, name) for name in self.settings}
        plain = nn.utils.skip_init(self.plain, **given, bias=self.bias_mu is not None, device=mu.device, dtype=mu.dtype)
        return self._give_means(plain)

    def _check(self, x: Tensor) -> None:
        dims = self.weight_mu.dim() - 1
        if x.dim() not in (dims, dims + 1) or x.shape[-dims] != self.in_channels:
            sizes = ("L", "H, W", "D, H, W")[dims - 2]
            raise InputError(f"x: got shape {tuple(x.shape)}, expected (B, {self.in_channels}, {sizes}) or without B")

    def extra_repr(self) -> str:
        given = {name: getattr(self, name) for name in self.settings} | {"bias": self.bias_mu is not None}
        return f"{', '.join(f'{name}={value!r}' for name, value in given.items())}, {self._repr_of_prior()}"


class _Convolution(_AnyConvolution):
    """A convolution with a Gaussian weight and bias; see `BayesianLayer` for which draw a pass uses.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as
            for the layer of `torch.nn`; the means start as its weights do.
        prior_mu, prior_sigma: of every weight; `set_prior` sets one for each.
        sigma_scale: initial σ in standard deviations of the initial means.

    Raises:
        InputError: for channels below one, or numbers that are no mean or standard deviation.
        ValueError: what the layer of `torch.nn` refuses.
    """

    settings = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    function: ClassVar[Any]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
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
        values = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        given = dict(zip(self.settings, values, strict=True))
        super().__init__(given, bias, device, dtype, prior_mu, prior_sigma, sigma_scale)

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._around, mode=str(self.padding_mode)), 0
        y: Tensor = type(self).function(x, weight, bias, self.stride, padding, self.dilation, self.groups)
        return y


class _Transposed(_AnyConvolution):
    """A transposed convolution with a Gaussian weight and bias; see `BayesianLayer` for which draw a pass uses.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode,
            device, dtype: as for the layer of `torch.nn`; the means start as its weights do.
        prior_mu, prior_sigma: of every weight; `set_prior` sets one for each.
        sigma_scale: initial σ in standard deviations of the initial means.

    Raises:
        InputError: for channels below one, or numbers that are no mean or standard deviation.
        ValueError: what the layer of `torch.nn` refuses.
    """

    settings = (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "groups", "dilation"),
        "padding_mode",
    )
    function: ClassVar[Any]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        prior_mu: float = 0.0,
        prior_sigma: float = 1.0,
        sigma_scale: float = 0.1,
    ) -> None:
        values = (in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, dilation)
        given = dict(zip(self.settings, (*values, padding_mode), strict=True))
        super().__init__(given, bias, device, dtype, prior_mu, prior_sigma, sigma_scale)

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        settings = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        y: Tensor = type(self).function(x, weight, bias, *settings)
        return y


class BayesianConv1d(_Convolution):
    __doc__ = _Convolution.__doc__
    plain, function = nn.Conv1d, staticmethod(F.conv1d)


class BayesianConv2d(_Convolution):
    __doc__ = _Convolution.__doc__
    plain, function = nn.Conv2d, staticmethod(conv2d)

    @classmethod
    def from_conv2d(cls, conv: nn.Conv2d, **prior: float) -> BayesianConv2d:
        """`from_plain`, for a convolution in two dimensions."""
        return cls.from_plain(conv, **prior)


class BayesianConv3d(_Convolution):
    __doc__ = _Convolution.__doc__
    plain, function = nn.Conv3d, staticmethod(F.conv3d)


class BayesianConvTranspose1d(_Transposed):
    __doc__ = _Transposed.__doc__
    plain, function = nn.ConvTranspose1d, staticmethod(F.conv_transpose1d)


class BayesianConvTranspose2d(_Transposed):
    __doc__ = _Transposed.__doc__
    plain, function = nn.ConvTranspose2d, staticmethod(F.conv_transpose2d)


class BayesianConvTranspose3d(_Transposed):
    __doc__ = _Transposed.__doc__
    plain, function = nn.ConvTranspose3d, staticmethod(F.conv_transpose3d)
