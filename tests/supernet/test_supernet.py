"""The supernet against a plain search network, hard samples, stems, priors, and what it refuses."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import base_fast as bf
from base_fast.errors import InputError
from base_fast.ops import backends
from base_fast.posterior import Layout, Posterior
from base_fast.reference import mixed_op as mixed_op_definition
from base_fast.space import DARTS, NAS_BENCH_201, Space
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.supernet.stems import apply_stem, stem_shapes
from benchmarks.plain_darts import PlainDarts, name_in_supernet
from tests import tolerances
from tests.tolerances import assert_close

KEY = bf.random.key(21)


def sample(supernet: Supernet, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """θ with every entry different from zero, and a soft z."""
    generator = torch.Generator().manual_seed(seed)
    theta = supernet.initial_scale().double() * torch.randn(
        supernet.layout.numel, dtype=torch.float64, generator=generator
    )
    space = supernet.space
    shape = (len(space.cell_types), space.num_edges, space.num_primitives)
    z = torch.softmax(torch.randn(shape, dtype=torch.float64, generator=generator), -1)
    return theta.to(dtype), z.to(dtype)


def images(batch: int, height: int, width: int | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(batch, 3, height, width or height, dtype=torch.float64, generator=generator).to(dtype)


def one_hot(z: Tensor, seed: int = 1) -> Tensor:
    picks = torch.randint(z.shape[-1], z.shape[:-1], generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(picks, z.shape[-1]).to(z.dtype)


def cosine_sum(y: Tensor) -> Tensor:
    """A scalar whose gradient differs from element to element."""
    return (y * torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)).sum()


# --- Counts -----------------------------------------------------------------------------------------------------------


def test_parameters_of_the_published_search_network() -> None:
    assert Supernet(DARTS, channels=16, layers=8, num_classes=10).layout.numel == 1_930_618
    assert sum(p.numel() for p in PlainDarts(16, 8, 10).parameters()) == 1_930_618


@pytest.mark.parametrize(("stem", "more"), [("32", 0), ("64", 0), ("224", 30_600)])
def test_parameters_of_the_stems(stem: str, more: int) -> None:
    assert Supernet(channels=16, layers=8, num_classes=10, stems=(stem,)).layout.numel == 1_930_618 + more


def test_stems_add_up() -> None:
    def stem_alone(stem: str) -> int:
        layout = Supernet(channels=4, layers=3, stems=(stem,)).layout
        return sum(size for name, size in zip(layout.names, layout.sizes, strict=True) if name.startswith("stems."))

    one = Supernet(channels=4, layers=3).layout.numel
    every = Supernet(channels=4, layers=3, stems=("32", "64", "224")).layout.numel
    assert every == one + stem_alone("64") + stem_alone("224")


@pytest.mark.parametrize(("channels", "layers", "num_classes"), [(4, 5, 3), (6, 3, 10), (3, 1, 2), (5, 2, 7)])
def test_names_and_shapes_are_those_of_the_plain_network(channels: int, layers: int, num_classes: int) -> None:
    plain = PlainDarts(channels, layers, num_classes)
    expected = {name_in_supernet(name): tuple(p.shape) for name, p in plain.named_parameters()}
    layout = Supernet(channels=channels, layers=layers, num_classes=num_classes).layout
    assert dict(zip(layout.names, layout.shapes, strict=True)) == expected


def test_the_head_is_last() -> None:
    supernet = Supernet(channels=4, layers=3, num_classes=7)
    assert supernet.layout.names[-2:] == ("classifier.weight", "classifier.bias")
    assert supernet.head == slice(supernet.layout.slices["classifier.weight"].start, supernet.layout.numel)


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "layers", "num_classes", "batch", "height", "width"),
    [
        (4, 5, 3, 2, 16, 16),  # normal, reduction, after a reduction, reduction, after a reduction
        (4, 6, 4, 2, 12, 12),  # two normal cells before the first reduction
        (3, 3, 5, 2, 15, 13),  # odd sizes and an odd number of channels; two reductions in a row
        (2, 4, 2, 3, 8, 33),
        (4, 1, 10, 1, 9, 8),  # a single cell is a reduction
        (2, 2, 2, 4, 5, 5),
    ],
)
def test_logits_and_gradients_are_those_of_the_plain_network(
    channels: int, layers: int, num_classes: int, batch: int, height: int, width: int
) -> None:
    supernet = Supernet(channels=channels, layers=layers, num_classes=num_classes)
    theta, z = sample(supernet)
    x = images(batch, height, width)
    plain = PlainDarts(channels, layers, num_classes).double()
    named = supernet.layout.named(theta)
    plain.load_state_dict({name: named[name_in_supernet(name)] for name in plain.state_dict()})

    plain_z, plain_x = z.clone().requires_grad_(), x.clone().requires_grad_()
    expected = plain(plain_x, plain_z)
    cosine_sum(expected).backward()
    theta.requires_grad_()
    z.requires_grad_()
    x.requires_grad_()
    logits = supernet(x, theta, z)
    cosine_sum(logits).backward()

    assert logits.shape == (batch, num_classes)
    assert_close(logits, expected, tolerances.SUPERNET_FLOAT64)
    assert_close(x.grad, plain_x.grad, tolerances.SUPERNET_FLOAT64)
    assert_close(z.grad, plain_z.grad, tolerances.SUPERNET_FLOAT64)
    by_name = {name_in_supernet(name): p.grad for name, p in plain.named_parameters()}
    for name, gradient in supernet.layout.named(theta.grad).items():
        assert_close(gradient, by_name[name], tolerances.SUPERNET_FLOAT64)
    # There are gradients to compare.
    assert all(gradient.abs().max() > 0 for gradient in by_name.values())


def test_float32_stays_close_to_float64() -> None:
    supernet = Supernet(channels=8, layers=5)
    theta, z = sample(supernet)
    x = images(4, 32)
    logits = supernet(x.float(), theta.float(), z.float())
    assert logits.dtype == torch.float32
    assert_close(logits, supernet(x, theta, z), tolerances.SUPERNET_FLOAT32)


def test_memory_format_does_not_matter() -> None:
    supernet = Supernet(channels=4, layers=3)
    theta, z = sample(supernet)
    for size in (8, 20):
        x = images(2, size)
        expected = supernet(x, theta, z)
        for other in (x.contiguous(memory_format=torch.channels_last), torch.stack((x, x), -1)[..., 0]):
            assert_close(supernet(other, theta, z), expected, tolerances.SUPERNET_FLOAT64)


def test_the_supernet_can_be_differentiated_twice() -> None:
    supernet = Supernet(DARTS.with_nodes(1), channels=2, layers=2, num_classes=2)
    theta, z = sample(supernet)
    x = images(2, 4)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(cosine_sum(supernet(x, theta, z)), z, create_graph=True)
    direction = torch.cos(torch.arange(z.numel(), dtype=z.dtype)).view(z.shape)
    (second,) = torch.autograd.grad((gradient * direction).sum(), z)
    h = 1e-5
    moved = []
    for step in (h, -h):
        there = (z.detach() + step * direction).requires_grad_()
        moved.append(torch.autograd.grad(cosine_sum(supernet(x, theta, there)), there)[0])
    assert_close(second, (moved[0] - moved[1]) / (2 * h), tolerances.FINITE_DIFFERENCE)
    assert second.abs().max() > 0


def test_what_is_kept_for_backward_does_not_matter() -> None:
    theta, z = sample(Supernet(channels=4, layers=3))
    results = []
    for memory in ("store", "recompute", "store_bf16"):
        supernet = Supernet(channels=4, layers=3, memory=memory)
        leaves = [theta.clone().requires_grad_(), z.clone().requires_grad_()]
        logits = supernet(images(2, 8), *leaves)
        results.append([logits, *torch.autograd.grad(cosine_sum(logits), leaves)])
    # In float64, which nothing rounds.
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(other, results[0], strict=True))


def test_the_memory_level_is_part_of_the_configuration() -> None:
    config = SupernetConfig(nodes=4, channels=2, layers=1, memory="recompute")
    supernet = Supernet.from_config(config)
    assert supernet.config == config
    assert Supernet.for_posterior(supernet.prior(KEY)).config == config
    assert supernet.with_classes(3).config.memory == "recompute"
    with pytest.raises(InputError, match="^memory: got 'keep', expected one of store, store_bf16, recompute"):
        SupernetConfig(memory="keep")  # type: ignore[arg-type]


# --- Hard samples -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201], ids=["darts", "nas_bench_201"])
def test_hard_equals_soft_of_the_same_one_hot(space: Space) -> None:
    supernet = Supernet(space, channels=4, layers=5, num_classes=3)
    theta, soft = sample(supernet)
    x = images(2, 12)
    for seed in range(4):
        z = one_hot(soft, seed)
        results = []
        for hard in (False, True):
            leaves = [x.clone().requires_grad_(), theta.clone().requires_grad_(), z.clone().requires_grad_()]
            logits = supernet(*leaves, hard=hard)
            results.append([logits, *torch.autograd.grad(cosine_sum(logits), leaves)])
        (logits, d_x, d_theta, d_z), (hard_logits, hard_d_x, hard_d_theta, hard_d_z) = results
        assert_close(hard_logits, logits, tolerances.SUPERNET_FLOAT64)
        assert_close(hard_d_x, d_x, tolerances.SUPERNET_FLOAT64)
        assert_close(hard_d_theta, d_theta, tolerances.SUPERNET_FLOAT64)
        # z's gradient passes through what ran; `none` gives nothing.
        assert_close(hard_d_z, d_z * z, tolerances.SUPERNET_FLOAT64)
        assert hard_d_z.abs().max() > 0


def test_hard_reads_no_weight_of_what_was_not_chosen() -> None:
    supernet = Supernet(channels=4, layers=3)
    theta, soft = sample(supernet)
    z, x = one_hot(soft), images(2, 8)
    expected = supernet(x, theta, z, hard=True)
    poisoned, count = theta.clone(), 0
    for name, where in supernet.layout.slices.items():
        if "._ops." not in name:
            continue
        _, cell, _, edge, _, primitive, *_ = name.split(".")
        if z[int(int(cell) in supernet.config.reduction_cells), int(edge), int(primitive)] == 0:
            poisoned[where] = float("nan")
            count += 1
    assert count > 100
    assert torch.equal(supernet(x, poisoned, z, hard=True), expected)
    assert not supernet(x, poisoned, z).isfinite().any()


def test_hard_executes_only_the_chosen_primitives(monkeypatch: pytest.MonkeyPatch) -> None:
    if not backends()["mixed_op"]["cpu"].startswith("reference"):
        pytest.skip("counts calls of the reference, and a compiled kernel serves mixed_op")
    calls: Counter[str] = Counter()

    def counted(primitive: str, *arguments: object) -> Tensor:
        calls[primitive] += 1
        return apply(primitive, *arguments)

    apply = mixed_op_definition.apply
    monkeypatch.setattr(mixed_op_definition, "apply", counted)
    supernet = Supernet(channels=4, layers=4)
    theta, soft = sample(supernet)
    z, x = one_hot(soft), images(2, 8)
    supernet(x, theta, z, hard=True)
    expected: Counter[str] = Counter()
    for block in supernet.blocks:
        for pick in z[block.cell_type].argmax(-1).tolist():
            expected[DARTS.primitives[pick]] += 1
    del expected["none"]
    assert calls == expected
    calls.clear()
    supernet(x, theta, z)
    assert calls == dict.fromkeys(DARTS.primitives[1:], 4 * 14)


# --- Stems ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "stem"),
    [(8, "32"), (32, "32"), (48, "32"), (49, "64"), (64, "64"), (128, "64"), (129, "224"), (224, "224")],
)
def test_the_image_size_chooses_the_stem_and_the_cells_are_shared(size: int, stem: str) -> None:
    supernet = Supernet(DARTS.with_nodes(1), channels=2, layers=1, num_classes=2, stems=("32", "64", "224"))
    theta, z = sample(supernet, dtype=torch.float32)
    theta.requires_grad_()
    cosine_sum(supernet(images(2, size, dtype=torch.float32), theta, z)).backward()
    reached = {name for name, gradient in supernet.layout.named(theta.grad).items() if gradient.abs().max() > 0}
    expected = {name for name in supernet.layout.names if name.startswith((f"stems.{stem}.", "cells.", "classifier."))}
    assert reached == expected


@pytest.mark.parametrize("stem", ["32", "64", "224"])
def test_one_of_several_stems_computes_what_it_computes_alone(stem: str) -> None:
    several = Supernet(channels=2, layers=2, num_classes=3, stems=("32", "64", "224"))
    alone = Supernet(channels=2, layers=2, num_classes=3, stems=(stem,))
    theta, z = sample(several)
    named = several.layout.named(theta)
    own = torch.cat([named[name].flatten() for name in alone.layout.names])
    x = images(1, {"32": 16, "64": 50, "224": 130}[stem])
    assert_close(alone(x, own, z), several(x, theta, z), tolerances.SUPERNET_FLOAT64)


def test_a_single_stem_serves_every_size() -> None:
    supernet = Supernet(DARTS.with_nodes(1), channels=2, layers=1, num_classes=2, stems=("224",))
    theta, z = sample(supernet, dtype=torch.float32)
    for size in (32, 64):
        assert supernet(images(2, size, dtype=torch.float32), theta, z).shape == (2, 2)


@pytest.mark.parametrize(("stem", "divisor"), [("32", 1), ("64", 2), ("224", 8)])
def test_stems_divide_the_resolution(stem: str, divisor: int) -> None:
    weights = [torch.randn(shape) for shape in stem_shapes(stem, 3, 12).values()]
    y = apply_stem(stem, images(2, 32, dtype=torch.float32), weights)
    assert y.shape == (2, 12, 32 // divisor, 32 // divisor)
    # It ends in the affine batch norm.
    scale, shift = weights[-2:]
    assert_close(y.mean(dim=(0, 2, 3)), shift, tolerances.EDGE_FLOAT32)
    assert_close(y.std(dim=(0, 2, 3), correction=0), scale.abs(), tolerances.BATCH_NORM_EPSILON)


# --- Other spaces -----------------------------------------------------------------------------------------------------


def test_nas_bench_201() -> None:
    supernet = Supernet("nas_bench_201", channels=4, layers=8, num_classes=5)
    theta, z = sample(supernet)
    assert z.shape == (1, 6, 5)
    theta.requires_grad_()
    z.requires_grad_()
    logits = supernet(images(3, 17), theta, z)
    assert logits.shape == (3, 5)
    cosine_sum(logits).backward()
    for name, gradient in supernet.layout.named(theta.grad).items():
        assert gradient.abs().max() > 0, name
    assert (z.grad[..., 1:].abs() > 0).all()


def test_nas_bench_201_counts() -> None:
    """Three stages; a cell has a 1×1 and a 3×3 convolution on each of its six edges."""
    supernet = Supernet(NAS_BENCH_201, channels=16, layers=8, num_classes=10)
    cells = {16: 2, 32: 2, 64: 2}
    expected = 16 * 27 + 32 + sum(count * 6 * 10 * c * c for c, count in cells.items())
    expected += sum(2 * c * c * 9 + c * c * 36 + 2 * c * c for c in (16, 32))
    assert supernet.layout.numel == expected + 64 * 10 + 10


def test_a_subset_of_the_primitives_and_fewer_nodes() -> None:
    space = replace(DARTS.with_nodes(2), name="small", primitives=("sep_conv_3x3", "none", "skip_connect"))
    supernet = Supernet(space, channels=4, layers=3, num_classes=4)
    theta, z = sample(supernet)
    assert z.shape == (2, 5, 3)
    assert supernet(images(2, 8), theta, z).shape == (2, 4)
    assert_close(
        supernet(images(2, 8), theta, one_hot(z), hard=True),
        supernet(images(2, 8), theta, one_hot(z)),
        tolerances.SUPERNET_FLOAT64,
    )


def test_own_reductions() -> None:
    supernet = Supernet(channels=2, layers=3, num_classes=2, reductions=(1,))
    assert [block.reduction for block in supernet.blocks] == [False, True, False]
    assert [block.channels for block in supernet.blocks] == [2, 4, 4]
    without = Supernet(channels=2, layers=3, num_classes=2, reductions=())
    assert not any(block.reduction for block in without.blocks)
    theta, z = sample(without)
    theta.requires_grad_()
    z.requires_grad_()
    cosine_sum(without(images(2, 4), theta, z)).backward()
    assert torch.equal(z.grad[1], torch.zeros(14, 8))


# --- Building again ---------------------------------------------------------------------------------------------------


def test_with_classes_changes_the_head_alone() -> None:
    supernet = Supernet(channels=4, layers=3, num_classes=10, stems=("32", "64"), reductions=(1,))
    other = supernet.with_classes(3)
    assert other.config == replace(supernet.config, num_classes=3)
    assert other.layout.names == supernet.layout.names
    assert other.layout.shapes[:-2] == supernet.layout.shapes[:-2]
    assert other.layout.shapes[-1] == (3,)
    assert other.head.start == supernet.head.start


def test_from_config() -> None:
    config = SupernetConfig(space="darts", nodes=2, channels=4, layers=3, num_classes=5, stems=("64",), reductions=(2,))
    supernet = Supernet.from_config(config)
    assert supernet.config == config
    assert supernet.space == DARTS.with_nodes(2)
    assert SupernetConfig().build_space() == DARTS


@pytest.mark.parametrize("reductions", [None, (1,)])
def test_for_posterior_survives_a_file(tmp_path: Path, reductions: tuple[int, ...] | None) -> None:
    space = replace(DARTS.with_nodes(2), name="mine", primitives=("none", "dil_conv_5x5", "avg_pool_3x3"))
    supernet = Supernet(space, channels=4, layers=3, num_classes=5, stems=("32", "64"), reductions=reductions)
    path = tmp_path / "prior"
    supernet.prior(KEY).save(path)
    loaded = Posterior.load(path)
    again = Supernet.for_posterior(loaded)
    assert again.layout == supernet.layout
    assert again.space == space
    assert again.config == supernet.config
    x = images(2, 8, dtype=torch.float32)
    z = loaded.probabilities
    theta = sample(supernet, dtype=torch.float32)[0]
    assert torch.equal(again(x, theta, z), supernet(x, theta, z))


def test_for_posterior_refuses_a_layout_of_something_else() -> None:
    prior = Supernet(channels=4, layers=3).prior(KEY)
    with pytest.raises(InputError, match=r"^posterior: .* stems.32.0.conv.weight has shape \(12, 3, 3, 3\)"):
        Supernet.for_posterior(replace(prior, config=prior.config | {"channels": 8}))
    shapes = dict(zip(prior.layout.names, prior.layout.shapes, strict=True))
    renamed = Layout.of({name.replace("classifier", "head"): shape for name, shape in shapes.items()})
    with pytest.raises(InputError, match="classifier.weight is missing"):
        Supernet.for_posterior(replace(prior, layout=renamed))
    with pytest.raises(InputError):
        Supernet.for_posterior(replace(prior, config=prior.config | {"depth": 3}))


# --- Priors -----------------------------------------------------------------------------------------------------------


def test_prior() -> None:
    supernet = Supernet(channels=8, layers=5, num_classes=10, stems=("32", "224"))
    prior = supernet.prior(KEY, mu_scale=0.5, sigma_scale=0.2)
    assert prior.layout == supernet.layout
    assert prior.mu.dtype == prior.rho.dtype == prior.alpha.dtype == torch.float32
    assert torch.equal(prior.alpha, torch.zeros(2, 14, 8))
    assert_close(prior.entropy, torch.full((2,), math.log(8)), tolerances.ENTROPY_FLOAT32)
    mu, sigma = supernet.layout.named(prior.mu), supernet.layout.named(prior.sigma)
    assert not prior.mu[supernet.head].any()
    for name, shape in zip(supernet.layout.names, supernet.layout.shapes, strict=True):
        if name.endswith("bn.weight"):
            assert (mu[name] == 1).all()
        elif name.endswith("bn.bias"):
            assert not mu[name].any()
        if len(shape) > 1:
            expected = torch.full(shape, 0.5 * 0.2 * math.sqrt(2 / math.prod(shape[1:])))
            assert_close(sigma[name] / expected, torch.ones(shape), tolerances.INVERSE_SOFTPLUS_FLOAT32)
    head = math.sqrt(2 / supernet.layout.shapes[-2][1])
    for name in ("classifier.bias", "stems.32.0.bn.weight", "stems.224.1.bn.bias"):
        assert_close(
            sigma[name] / (0.5 * 0.2 * head), torch.ones_like(sigma[name]), tolerances.INVERSE_SOFTPLUS_FLOAT32
        )


def test_prior_draws_as_he_initializes() -> None:
    supernet = Supernet(channels=16, layers=8)
    mu = supernet.layout.named(supernet.prior(KEY, mu_scale=1.0).mu)
    standard = torch.cat(
        [
            (weight * math.sqrt(math.prod(weight.shape[1:]) / 2)).flatten()
            for name, weight in mu.items()
            if weight.dim() == 4
        ]
    ).double()
    n = standard.numel()
    assert n > 1_800_000
    assert abs(standard.mean()) < tolerances.STANDARD_ERRORS / n**0.5
    assert abs(standard.std() - 1) < tolerances.STANDARD_ERRORS / (2 * n) ** 0.5


def test_prior_is_a_function_of_its_key() -> None:
    supernet = Supernet(channels=4, layers=3)
    prior, again = supernet.prior(KEY), supernet.prior(KEY.clone())
    other = supernet.prior(bf.random.fold_in(KEY, 0))
    assert torch.equal(prior.mu, again.mu)
    assert torch.equal(prior.rho, again.rho)
    assert not torch.equal(prior.mu, other.mu)
    assert torch.equal(prior.rho, other.rho)
    assert torch.equal(supernet.prior(KEY, sigma_scale=1.0).mu, prior.mu)
    double = supernet.prior(KEY, dtype=torch.float64)
    assert double.mu.dtype == double.rho.dtype == double.alpha.dtype == torch.float64
    assert torch.equal(double.mu, prior.mu.double())


def test_a_fresh_prior_classifies_at_chance() -> None:
    supernet = Supernet(channels=4, layers=3, num_classes=6)
    prior = supernet.prior(KEY)
    logits = supernet(images(2, 8, dtype=torch.float32), prior.mu, prior.probabilities)
    assert torch.equal(logits, torch.zeros(2, 6))


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "dart"}, "space: no 'dart'; did you mean darts"),
        ({"channels": 0}, "channels: got 0, expected an integer ≥ 1"),
        ({"layers": 0}, "layers: got 0"),
        ({"num_classes": 0}, "num_classes: got 0"),
        ({"num_classes": 2.5}, "num_classes: got 2.5"),
        ({"stems": ("16",)}, r"stems: got \('16',\), expected different ones of 32, 64, 224"),
        ({"stems": ()}, r"stems: got \(\)"),
        ({"stems": ("32", "32")}, "stems: got"),
        ({"reductions": (8,)}, r"reductions: got \(8,\), expected indices below layers = 8"),
        ({"reductions": (-1,)}, r"reductions: got \(-1,\)"),
    ],
)
def test_construction_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Supernet(**arguments)  # type: ignore[arg-type]


def test_a_space_with_a_primitive_that_has_no_search_time_form_is_refused() -> None:
    space = replace(DARTS, primitives=("none", "conv_7x1_1x7"))
    supernet = Supernet(space, channels=2, layers=1)
    theta, _ = sample(supernet)
    with pytest.raises(InputError, match="^primitives: got 'conv_7x1_1x7'"):
        supernet(images(2, 8), theta, torch.ones(2, 14, 2).double())


def test_call_errors() -> None:
    supernet = Supernet(channels=2, layers=1, stems=("32", "64"))
    theta, z = sample(supernet)
    x = images(2, 8)
    for arguments, message in [
        ((x[0], theta, z), r"x: got shape \(3, 8, 8\), expected images \(B, 3, H, W\)"),
        ((x[:, :1], theta, z), r"x: got shape \(2, 1, 8, 8\)"),
        ((x, theta[:-1], z), r"theta: got torch.float64 of shape \(\d+,\), expected torch.float64"),
        ((x, theta.float(), z), "theta: got torch.float32"),
        ((x, theta, z[:1]), r"z: got shape \(1, 14, 8\), expected \(2, 14, 8\)"),
        ((images(1, 200), theta, z), "resolution: got images of 200 pixels, which want stem '224'"),
    ]:
        with pytest.raises(InputError, match=f"^{message}"):
            supernet(*arguments)


@pytest.mark.parametrize("name", ["mu_scale", "sigma_scale"])
def test_prior_errors(name: str) -> None:
    for value in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match=f"^{name}: got {value}, expected a number > 0"):
            Supernet(channels=2, layers=1).prior(KEY, **{name: value})
