"""Networks as files for other programs: what they compute, and what they say of themselves."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import asdict

import pytest
import torch

from base_fast.errors import InputError
from base_fast.evaluation import Classifier, Inputs, NetworkConfig
from base_fast.evaluation import export as exporting
from base_fast.evaluation.export import export
from base_fast.space import genotypes

INPUTS = Inputs(("cat", "dog", "émeu"), 16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
ONNX = ("onnx", "onnxscript", "onnxruntime")


@pytest.fixture(scope="module")
def network() -> Classifier:
    torch.manual_seed(0)
    # With a cell of each kind, and an auxiliary head, which is not run.
    network = Classifier(genotypes.DARTS_V2, NetworkConfig(channels=2, layers=3, auxiliary=True), INPUTS)
    network.train()(torch.randn(8, 3, 32, 32))
    return network.eval()


@pytest.mark.slow
def test_torch_export_is_the_network(network: Classifier) -> None:
    done = export(network, "torch-export")
    assert done.difference is not None and done.difference <= 1e-6
    told = {"base_fast.json": ""}
    loaded = torch.export.load(io.BytesIO(done.data), extra_files=told).module()
    assert json.loads(told["base_fast.json"]) == json.loads(json.dumps(asdict(INPUTS)))
    x = torch.randn(7, 3, 16, 16)
    torch.testing.assert_close(loaded(x), network(x))


@pytest.mark.slow
@pytest.mark.skipif(not all(map(importlib.util.find_spec, ONNX)), reason="base-fast[onnx] is not installed")
def test_onnx_is_the_network(network: Classifier) -> None:
    import onnxruntime

    done = export(network, "onnx")
    assert done.difference is not None and done.difference <= 1e-5
    session = onnxruntime.InferenceSession(done.data)
    assert json.loads(session.get_modelmeta().custom_metadata_map["base_fast"])["class_names"] == list(
        INPUTS.class_names
    )
    x = torch.randn(7, 3, 16, 16)
    found = torch.from_numpy(session.run(["logits"], {"x": x.numpy()})[0])
    torch.testing.assert_close(found, network(x), atol=1e-5, rtol=1e-4)


def test_onnx_says_what_it_needs(network: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package onnx: pip install 'base-fast\[onnx\]'"):
        export(network, "onnx")


def test_a_file_that_computes_something_else_is_refused(network: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)
    for run, message in (
        (lambda x: network(x) * 1.001, "differs from the network by 1.0e-03"),
        (lambda x: network(x) * float("nan"), "differs from the network by nan"),
        (lambda x: network(x)[:1], r"gives \(1, 3\), expected logits \(2, 3\)"),
    ):
        monkeypatch.setattr(exporting, "_torch_export", lambda *_, run=run: (b"", run))
        with pytest.raises(InputError, match=message):
            export(network, "torch-export")
    with pytest.raises(InputError, match="format: got 'tflite', expected one of onnx, torch-export"):
        export(network, "tflite")  # type: ignore[arg-type]
