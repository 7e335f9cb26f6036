"""What counts as the same values."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.agreement import compare, error, errors, mean_error, standard_errors


def test_the_error_is_relative_to_the_largest_expected_magnitude():
    assert error(torch.tensor([1.0, 99.0]), torch.tensor([0.0, 100.0], dtype=torch.float64)) == pytest.approx(0.01)
    assert error(torch.tensor([1e-3]), torch.tensor([2e-3])) == pytest.approx(0.5)
    assert error(torch.tensor([0.5]), torch.zeros(1)) == 0.5


@pytest.mark.parametrize("actual", [torch.full((3,), math.nan), torch.tensor([math.inf, 1.0, 1.0]), torch.ones(4)])
def test_what_cannot_be_compared_is_infinitely_wrong(actual):
    assert error(actual, torch.ones(3)) == math.inf


def test_other_noise_of_one_distribution_agrees():
    assert standard_errors(torch.randn(10_000), torch.randn(10_000)) < 6.0
    assert standard_errors(torch.full((3,), 2.0), torch.full((3,), 2.0)) == 0.0


@pytest.mark.parametrize(("shift", "scale"), [(0.2, 1.0), (0.0, 1.2), (math.nan, 1.0)])
def test_another_distribution_is_seen(shift, scale):
    torch.manual_seed(0)
    assert standard_errors(torch.randn(10_000) * scale + shift, torch.randn(10_000)) > 6.0


def test_every_expected_output_is_compared():
    ones, twos = torch.ones(3), torch.full((3,), 2.0)
    assert compare({"y": ones, "grad x": twos}, {"y": ones, "grad x": twos}, 1e-6).problem == ""
    assert compare({"y": ones, "grad x": ones}, {"y": ones, "grad x": twos}, 1e-6).problem.startswith("grad x is off")
    assert compare({"y": ones}, {"y": ones, "grad x": twos}, 1e-6).problem == "grad x is missing"


def test_noisy_outputs_are_compared_by_distribution_alone():
    torch.manual_seed(0)
    actual, expected = {"y": torch.randn(1000), "kl": torch.ones(())}, {"y": torch.randn(1000), "kl": torch.ones(())}
    found = compare(actual, expected, 1e-6, frozenset({"y"}))
    assert (found.error, found.problem) == (0.0, "")
    assert compare({"y": actual["y"]}, {"y": expected["y"]}, 1e-6, frozenset({"y"})).error is None
    actual["y"] = actual["y"] + 1.0
    assert compare(actual, expected, 1e-6, frozenset({"y"})).problem.startswith("y is distributed otherwise")


def test_another_ones_errors_are_a_yardstick():
    exact, ours = {"y": torch.tensor([1.0, 2.0])}, {"y": torch.tensor([1.0, 2.03])}
    theirs = errors({"y": torch.tensor([1.02, 2.0])}, exact)
    assert theirs == {"y": pytest.approx(0.01)}
    assert compare(ours, exact, 1e-6, yardsticks=[theirs]).problem == ""
    assert compare(ours, exact, 1e-6, yardsticks=[{"y": 1e-4}, theirs]).problem == ""
    assert "allowed 0.0002" in compare(ours, exact, 1e-6, yardsticks=[{"y": 1e-4}]).problem
    # However exact the others are, rounding is allowed.
    assert compare(ours, exact, 0.1, yardsticks=[{"y": 0.0}]).problem == ""
    assert errors({}, exact) == {"y": math.inf}


def test_the_mean_error_is_that_of_the_norm():
    assert mean_error(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.2)
    assert mean_error(torch.tensor([0.5]), torch.zeros(1)) == 0.5
    assert mean_error(torch.tensor([math.nan]), torch.zeros(1)) == math.inf
    assert mean_error(torch.ones(2), torch.ones(1)) == math.inf
    ours, exact = {"y": torch.tensor([3.0, 4.1])}, {"y": torch.tensor([3.0, 4.0])}
    assert compare(ours, exact, 0.0201, norm=mean_error).problem == ""
    assert compare(ours, exact, 0.0201).problem != ""
