"""Write a trained network for other programs, as ONNX or as a torch.export program, checked against the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from base_fast.cli.command import RunReader, required
from base_fast.evaluation import load_network
from base_fast.evaluation.export import SUFFIXES, Format, export
from base_fast.runs import atomic_write


@dataclass(frozen=True)
class Export(RunReader):
    """Takes normalized images, batches of any size; the file tells class names, resolution, mean and std."""

    format: Format = "onnx"
    """onnx needs base-fast[onnx], with which it is also run and compared."""
    out: Path | None = None
    """The file; RUN/network.onnx or RUN/network.pt2 unless given."""

    def execute(self) -> int:
        run = required("run", self.run, "the folder of a finished training, or its network.safetensors")
        network = load_network(run)
        done = export(network, self.format)
        out = self.out or (run if run.is_dir() else run.parent) / f"network{SUFFIXES[self.format]}"
        atomic_write(out, done.data)
        checked = "not compared: onnxruntime is not installed"
        if done.difference is not None:
            checked = f"its logits differ from the network's by {done.difference:.1e} of the largest"
        inputs = network.inputs
        print(f"{out}: {len(done.data) / 1e6:.1f} MB; {checked}")
        print(f"takes x float32 (B, 3, {inputs.resolution}, {inputs.resolution}): RGB / 255, less mean, by std")
        print(
            f"mean {_numbers(inputs.mean)}; std {_numbers(inputs.std)}; {len(inputs.class_names)} classes, in the file"
        )
        return 0


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
