"""The supernet against a plain search network, and hard samples."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import backends
from base_fast.reference import mixed_op as mixed_op_definition
from base_fast.space import DARTS, NAS_BENCH_201, Space
from base_fast.supernet import Supernet, SupernetConfig
from benchmarks.plain_darts import PlainDarts, name_in_supernet
from tests import tolerances
from tests.supernet.samples import KEY, cosine_sum, images, one_hot, sample
from tests.tolerances import assert_close

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
