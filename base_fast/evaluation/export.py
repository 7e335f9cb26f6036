"""A trained network as a file for other programs, checked against the network before it is written."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.evaluation.classifier import Classifier
from base_fast.random import generator, key

Format = Literal["onnx", "torch-export"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2"}
# The sizes of a batch that are compared; the smallest one is what phones and servers run.
BATCHES = (1, 2, 5)
# Of the largest logit. Measured: 2e-7 with onnxruntime 1.32, nothing with torch.export (DARTS_V2, 4 channels, 3 cells,
# 16 pixels, AVX2); deeper networks and other runtimes, whose convolutions sum in another order, get the rest.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """The bytes of a file, and how far its logits are from the network's: None where nothing here could run it."""

    data: bytes
    difference: float | None


def export(network: Classifier, form: Format) -> Exported:
    """The network as ONNX or as a `torch.export` program, for batches of any size of images of its resolution.

    Its function is the network's: "x" float32 (B, 3, R, R), normalized, to "logits" (B, num_classes). Class names,
    resolution, mean and std stand in the file as JSON: in ONNX's metadata as "base_fast", among the extra files of a
    program as "base_fast.json".

    Raises:
        InputError: an unknown form, a package is missing, or the file computes something else.
    """
    if form not in SUFFIXES:
        raise InputError(f"format: got {form!r}, expected one of {', '.join(get_args(Format))}")
    network = network.cpu().eval()
    x = torch.randn(2, 3, network.resolution, network.resolution, generator=generator(key(0)), device="cpu")
    batch = torch.export.Dim("batch", min=1, max=65536)
    with _quiet():
        program = torch.export.export(network, (x,), dynamic_shapes=({0: batch},))
        told = json.dumps(asdict(network.inputs))
        data, run = (_onnx if form == "onnx" else _torch_export)(network, program, told)
    return Exported(data, None if run is None else _difference(network, run, form))


Run = Callable[[Tensor], Tensor]


def _torch_export(network: Classifier, program: Any, told: str) -> tuple[bytes, Run]:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"base_fast.json": told})
    loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), loaded


def _onnx(network: Classifier, program: Any, told: str) -> tuple[bytes, Run | None]:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"format: 'onnx' needs the package {package}: pip install 'base-fast[onnx]'")
    model = torch.onnx.export(program, input_names=["x"], output_names=["logits"], verbose=False)
    assert model is not None
    proto = model.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = "base_fast", told
    data: bytes = proto.SerializeToString()
    if importlib.util.find_spec("onnxruntime") is None:
        return data, None
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda x: torch.from_numpy(session.run(["logits"], {"x": x.numpy()})[0])


def _difference(network: Classifier, run: Run, form: str) -> float:
    differences = []
    for size in BATCHES:
        x = torch.randn(size, 3, network.resolution, network.resolution, generator=generator(key(size)), device="cpu")
        with torch.no_grad():
            expected, found = network(x), run(x)
        if found.shape != expected.shape:
            raise InputError(f"format: {form} gives {tuple(found.shape)}, expected logits {tuple(expected.shape)}")
        differences.append((found - expected).abs().max() / expected.abs().max())
    worst = torch.stack(differences).max().item()  # NaN where one is
    if not worst <= TOLERANCE:
        raise InputError(f"format: {form} differs from the network by {worst:.1e} of its largest logit; not written")
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
