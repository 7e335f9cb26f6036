"""`base-fast merge`: two priors of digits, meta-trained on other classes, as one that can be adapted."""

from __future__ import annotations

import pytest
import torch

from base_fast.cli import main
from base_fast.posterior import Posterior
from base_fast.random import key
from base_fast.supernet import Supernet, SupernetConfig


@pytest.fixture
def priors(tmp_path):
    supernet = Supernet.from_config(SupernetConfig(nodes=1, channels=2, layers=1, num_classes=3))
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        supernet.prior(key(i)).save(tmp_path / str(i) / "posterior.safetensors")
    return tmp_path


def test_merge(priors, capsys):
    out = priors / "merged.safetensors"
    words = [str(priors / "0"), str(priors / "1" / "posterior.safetensors"), "--weights", "2", "1", "--out", str(out)]
    assert main(["merge", *words]) == 0
    said = capsys.readouterr().out
    assert "symmetric KL (nats a weight)" in said and "all weights" in said and "total variation" in said
    merged = Posterior.load(out)
    event = merged.lineage[-1]
    assert event["event"] == "merge" and len(event["sha256"]) == 2
    assert torch.allclose(torch.tensor(event["weights"]), torch.tensor([2 / 3, 1 / 3]))
    assert main(["derive", "--posterior", str(out)]) == 0


def test_errors(priors, capsys):
    one = str(priors / "0")
    for words, message in {
        (one, one, "--out", str(priors / "x")): "is given twice; --weights says how much",
        (one, "--out", str(priors / "x")): "posteriors: got 1, expected two or more",
        (one, str(priors / "1")): "--out: not given, expected a file",
    }.items():
        assert main(["merge", *words]) == 1
        assert message in capsys.readouterr().err
