"""Entropies and calibration, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import base_fast as bf
from base_fast.errors import InputError

# Two samples: they agree that nothing is known; each is sure, of another class; they agree and are sure.
P = torch.tensor([[[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0], [1.0, 0.0]]])


def test_entropies() -> None:
    ln2 = math.log(2.0)
    assert bf.nn.predictive_entropy(P).tolist() == pytest.approx([ln2, ln2, 0.0])
    assert bf.nn.mutual_information(P).tolist() == pytest.approx([0.0, ln2, 0.0])
    # 0.9 and 0.5 of the first class: H(0.7) − (H(0.9) + H(0.5))/2.
    p = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]], dtype=torch.float64)
    assert bf.nn.mutual_information(p).item() == pytest.approx(0.6108643 - (0.3250830 + 0.6931472) / 2, abs=1e-6)


def test_calibration() -> None:
    # Bins of the confidence: (0.8, 1] holds 0.9, right, and 1.0, wrong; (0.6, 0.8] holds 0.8, its edge, right.
    p = torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.2, 0.8]], dtype=torch.float64)
    error = bf.nn.expected_calibration_error(p, torch.tensor([0, 1, 1]), bins=5)
    assert error.item() == pytest.approx((2 / 3) * (0.95 - 0.5) + (1 / 3) * (1.0 - 0.8))
    assert bf.nn.expected_calibration_error(torch.eye(3), torch.arange(3)).item() == 0.0
    assert bf.nn.expected_calibration_error(torch.eye(3), torch.tensor([1, 2, 0])).item() == 1.0


def test_predictions() -> None:
    torch.manual_seed(0)
    net = bf.nn.bayesian(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))).eval()
    x = torch.randn(5, 4)
    p = bf.nn.predictions(net, x, bf.random.key(0), 6)
    assert p.shape == (6, 5, 3)
    torch.testing.assert_close(p.sum(-1), torch.ones(6, 5))
    assert torch.equal(p, bf.nn.predictions(net, x, bf.random.key(0), 6))
    with bf.nn.sampled(net, bf.random.fold_in(bf.random.key(0), 4)):
        torch.testing.assert_close(net(x).softmax(-1), p[4])
    assert (bf.nn.mutual_information(p) > 0).all()
    assert (bf.nn.mutual_information(p) < bf.nn.predictive_entropy(p)).all()


def test_errors() -> None:
    with pytest.raises(InputError, match="probabilities: got numbers that are no distributions"):
        bf.nn.predictive_entropy(torch.randn(2, 3, 4))
    with pytest.raises(InputError, match=r"labels: got shape \(2,\) beside probabilities \(3, 3\)"):
        bf.nn.expected_calibration_error(torch.eye(3), torch.arange(2))
    with pytest.raises(InputError, match="bins: got 0"):
        bf.nn.expected_calibration_error(torch.eye(3), torch.arange(3), bins=0)
    with pytest.raises(InputError, match=r"model: got an output of \(2, 3, 4\), expected logits"):
        bf.nn.predictions(bf.nn.BayesianLinear(4, 4), torch.ones(2, 3, 4), bf.random.key(0), 1)
