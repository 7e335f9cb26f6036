"""Peaks and saved bytes of calls whose memory is known."""

from __future__ import annotations

import torch

from benchmarks import memory
from benchmarks.case import gradients
from tests.benchmarks.toy import Toy, times

P = 100_000
BYTES = 4 * P


def test_the_peak_counts_what_lives_at_one_time():
    def run():
        for _ in range(3):
            a = torch.empty(P)
            b = torch.empty(P)
            del a, b
        return {}

    assert memory.extra_bytes(run) == 2 * BYTES


def test_returned_gradients_are_not_counted():
    setup = Toy.of(P)
    run = times(2.0).build(setup)
    assert BYTES <= memory.extra_bytes(run) < BYTES + 100


def test_storages_saved_for_backward_count_once():
    setup = Toy.of(P)

    def run():
        y = setup.x.exp()
        # exp saves its result; the products save x (an input) twice and that result once more.
        return gradients({"y": y * setup.x + y.detach() * setup.x}, {"y": setup.grad}, {"x": setup.x})

    assert memory.saved_bytes(setup, run) == (2 * BYTES, BYTES, 2 * BYTES)


def test_parameters_are_no_activations():
    layer = torch.nn.Linear(10, 20, bias=False)
    x = torch.randn(30, 10, requires_grad=True)
    everything, beyond, activations = memory.saved_bytes([layer, x], lambda: layer(x))
    assert (everything, beyond, activations) == (4 * (200 + 300), 0, 4 * 300)


def test_tensors_are_found_in_trees():
    tree = {"a": [torch.ones(1)], "b": Toy.of(2), "c": torch.nn.Linear(2, 2), "d": 3}
    assert len(list(memory.tensors_in(tree))) == 1 + 2 + 2
