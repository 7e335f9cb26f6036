"""Where tensors lie in the flat vector."""

from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.posterior import Layout

SHAPES = {"a": (2, 3), "b": (4,), "scalar": (), "empty": (0, 5), "c": (1, 1, 2)}


def test_sizes_and_slices() -> None:
    layout = Layout.of(SHAPES)
    assert layout.names == tuple(SHAPES)
    assert layout.sizes == [6, 4, 1, 0, 2]
    assert layout.numel == 13
    assert layout.slices == {
        "a": slice(0, 6),
        "b": slice(6, 10),
        "scalar": slice(10, 11),
        "empty": slice(11, 11),
        "c": slice(11, 13),
    }


def test_split_gives_views_in_order() -> None:
    layout = Layout.of(SHAPES)
    theta = torch.arange(13.0)
    parts = layout.split(theta)
    assert [tuple(part.shape) for part in parts] == list(SHAPES.values())
    assert torch.equal(torch.cat([part.flatten() for part in parts]), theta)
    parts[1][2] = -1.0
    assert theta[8] == -1.0
    named = layout.named(theta)
    assert list(named) == list(SHAPES)
    for name, part in named.items():
        assert torch.equal(part.flatten(), theta[layout.slices[name]])


def test_the_backward_of_a_split_is_one_concatenation() -> None:
    layout = Layout.of(SHAPES)
    theta = torch.arange(13.0, requires_grad=True)
    sum((part * i).sum() for i, part in enumerate(layout.split(theta), start=1)).backward()
    expected = [i for i, size in enumerate(layout.sizes, start=1) for _ in range(size)]
    assert theta.grad.tolist() == expected


def test_difference_names_the_first_one() -> None:
    layout = Layout.of({"a": (2,), "b": (3,)})
    assert layout.difference(Layout.of({"a": (2,), "b": (3,)})) is None
    assert layout.difference(Layout.of({"a": (2,)})) == "b is missing"
    assert layout.difference(Layout.of({"a": (2,), "b": (4,)})) == "b has shape (4,), expected (3,)"
    assert layout.difference(Layout.of({"a": (2,), "b": (3,), "c": (1,)})) == "c is not expected"
    assert layout.difference(Layout.of({"b": (3,), "a": (2,)})) == "the order of the tensors differs"


@pytest.mark.parametrize(
    ("names", "shapes", "message"),
    [
        (("a",), (), "layout: got 1 names and 0 shapes"),
        (("a", "a"), ((1,), (2,)), "layout: names must be unique"),
        (("a",), ((-1, -6),), r"layout: got 'a' of shape \(-1, -6\), expected a name and sizes ≥ 0"),
        (("a",), ((1.5,),), r"layout: got 'a' of shape \(1.5,\)"),
        ((3,), ((1,),), r"layout: got 3 of shape"),
    ],
)
def test_errors(names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Layout(names, shapes)
