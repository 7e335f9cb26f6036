from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from base_fast.errors import InputError
from base_fast.runs import RunFolder, to_dict


@dataclass(frozen=True)
class Inner:
    rates: tuple[float, ...] = (0.1, 0.2)


@dataclass(frozen=True)
class Config:
    steps: int = 3
    inner: Inner = field(default_factory=Inner)
    clip: float | None = 1.0


@pytest.fixture
def folder(tmp_path):
    with RunFolder.create(tmp_path / "run", "meta", Config()) as folder:
        yield folder


def test_a_new_run_says_where_it_came_from(folder):
    info = json.loads((folder.path / "run.json").read_text())
    assert info == to_dict(folder.info)
    assert set(info) == {"kind", "inputs", "started", "resumed"}
    assert set(info["started"]) == {"command", "versions", "commit", "machine", "created"}
    assert info["kind"] == folder.kind == "meta"
    assert info["started"]["versions"]["torch"] == torch.__version__
    assert info["started"]["machine"]["cores"] == os.cpu_count()
    assert folder.config(Config) == Config()


def test_an_existing_run_is_refused_unless_it_is_resumed(folder):
    with pytest.raises(InputError, match="already holds a run"):
        RunFolder.create(folder.path, "meta", Config())
    folder.close()
    with RunFolder.create(folder.path, "meta", Config(), resume=True) as again:
        assert again.info.started == folder.info.started
        assert len(again.info.resumed) == 1
        assert RunFolder.open(folder.path).info == again.info


def test_resuming_nothing_starts(tmp_path):
    with RunFolder.create(tmp_path / "a" / "b", "meta", Config(), resume=True) as folder:
        assert folder.info.resumed == ()


HOLDER = """
import sys
from tests.runs.test_folder import Config, RunFolder
with RunFolder.create(sys.argv[1], "meta", Config(), resume=True):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_two_processes_do_not_share_a_folder(tmp_path):
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        expected = f"run is in use by process {holder.pid} on {socket.gethostname()}; wait for it"
        with pytest.raises(InputError, match=re.escape(expected)):
            RunFolder.create(tmp_path / "run", "meta", Config(), resume=True)
        RunFolder.open(tmp_path / "run").rows()  # reading needs no lock
    finally:
        holder.kill()
        holder.communicate()
    # A killed holder holds nothing.
    RunFolder.create(tmp_path / "run", "meta", Config(), resume=True).close()


def test_a_refused_start_gives_the_folder_free(folder):
    folder.close()
    for _ in range(2):
        with pytest.raises(InputError, match="another configuration"):
            RunFolder.create(folder.path, "meta", Config(steps=4), resume=True)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="no lock .No locks available"):
        RunFolder.create(tmp_path / "run", "meta", Config()).close()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_a_start_that_was_cut_off_starts_again(tmp_path, monkeypatch, number, resume):
    """A folder whose maker died over its first or second file is neither stuck nor taken for a run."""
    replace_file, calls = os.replace, []

    def cut(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise SystemExit
        replace_file(*arguments)

    # What dies leaves its temporary file behind.
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        patch.setattr(os, "unlink", lambda path: None)
        with pytest.raises(SystemExit):
            RunFolder.create(tmp_path, "meta", Config())
    assert list(tmp_path.glob(".*.tmp"))
    with RunFolder.create(tmp_path, "meta", Config(steps=9), resume=resume) as folder:
        assert folder.config(Config) == Config(steps=9)
        assert folder.info.resumed == ()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_run_that_lost_its_configuration_is_not_started_anew(folder):
    folder.log("meta", 0)
    folder.close()
    (folder.path / "config.toml").unlink()
    for resume in (False, True):
        with pytest.raises(InputError, match=r"cannot read .*config.toml"):
            RunFolder.create(folder.path, "meta", Config(), resume=resume)
    assert folder.rows()


def test_resuming_removes_what_a_kill_left_half_written(folder):
    folder.save_checkpoint("a/b", {}, {})
    folder.close()
    left = [folder.path / ".run.json.x1.tmp", folder.path / "checkpoints/a/.b.safetensors.x2.tmp"]
    for path in left:
        path.write_text("")
    RunFolder.create(folder.path, "meta", Config(), resume=True).close()
    assert not any(path.exists() for path in left)
    assert (folder.path / "checkpoints/a/b.safetensors").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(steps=4), "steps was 3 and is now 4"),
        (Config(inner=Inner((0.1, 0.3))), r"inner.rates\[1\] was 0.2 and is now 0.3"),
        (Config(inner=Inner(())), r"inner.rates was \[0.1, 0.2\] and is now \[\]"),
        (Config(clip=None), "clip was 1.0 and is now None"),
        (replace(Config(), steps=5, clip=2.0), "steps was 3"),
    ],
)
def test_resuming_with_another_configuration_names_the_first_difference(folder, config, message):
    folder.close()
    with pytest.raises(InputError, match=message):
        RunFolder.create(folder.path, "meta", config, resume=True)


def test_resuming_another_kind_is_refused(folder):
    folder.close()
    with pytest.raises(InputError, match="kind 'meta'; expected 'adapt'"):
        RunFolder.create(folder.path, "adapt", Config(), resume=True)


def test_what_is_no_run_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the run folder"):
        RunFolder.create(tmp_path / "file", "meta", Config())
    with pytest.raises(InputError, match="not a run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run.json: kind: missing"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json is damaged"):
        RunFolder.open(tmp_path)


def test_rows_come_back_as_they_were_logged(folder):
    folder.log("meta", 0, loss=0.1, entropy={"normal": 1.5}, probabilities=torch.tensor([[0.25, 0.75]]), note=None)
    folder.log("adapt/digits", 0, loss=np.float32(0.5), accuracy=torch.tensor(0.5, dtype=torch.float64))
    rows = folder.rows()
    assert [row["phase"] for row in rows] == ["meta", "adapt/digits"]
    assert rows[0]["loss"] == 0.1
    assert rows[0]["entropy"] == {"normal": 1.5}
    assert rows[0]["probabilities"] == [[0.25, 0.75]]
    assert rows[0]["note"] is None
    assert folder.rows("adapt/digits") == [rows[1]]
    assert rows[1]["loss"] == rows[1]["accuracy"] == 0.5


def test_a_value_that_json_cannot_hold_leaves_no_row(folder):
    with pytest.raises(TypeError, match="got a value of type object"):
        folder.log("meta", 0, bad=object())
    assert folder.rows() == []


def test_scalars_go_to_tensorboard_and_purged_steps_do_not_come_back(folder, monkeypatch):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    # Files are read in the order of their names: second, host, process, and how many the process has made before. Of
    # one second, the tenth would come before the ninth.
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    monkeypatch.setattr(writer, "_global_uid", writer.AtomicCounter(0))
    for step in range(4):
        folder.log("adapt/a", step, loss=float(step), entropy={"normal": 1.0}, probabilities=[0.5], name="x")
    folder.truncate("adapt/a", 1)
    folder.log("adapt/a", 2, loss=20.0)
    folder.close()
    events = event_accumulator.EventAccumulator(str(folder.path / "tensorboard" / "adapt" / "a")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "entropy/normal"}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 0.0), (1, 1.0), (2, 20.0)]


def test_logging_works_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunFolder.create(tmp_path, "meta", Config()) as folder:
        folder.log("meta", 0, loss=1.0)
        folder.truncate("meta", -1)
        folder.log("meta", 0, loss=2.0)
    assert [row["loss"] for row in folder.rows()] == [2.0]
    assert not (tmp_path / "tensorboard").exists()


def test_truncating_drops_one_phase_beyond_the_step(folder):
    for step in range(3):
        folder.log("meta", step)
        folder.log("adapt", step)
    folder.truncate("meta", 0)
    folder.log("meta", 1, again=True)
    steps = [(row["phase"], row["step"]) for row in folder.rows()]
    assert steps == [("meta", 0), ("adapt", 0), ("adapt", 1), ("adapt", 2), ("meta", 1)]


def test_a_torn_last_line_is_passed_over_and_repaired(folder):
    folder.log("meta", 0)
    folder.close()
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "meta", "st')
    again = RunFolder.open(folder.path)
    assert [row["step"] for row in again.rows()] == [0]
    again.log("meta", 1)
    again.close()
    assert [row["step"] for row in again.rows()] == [0, 1]


def test_damage_in_the_middle_is_named(folder):
    (folder.path / "metrics.jsonl").write_text('{"phase": "meta", "st\n{"phase": "meta", "step": 1}\n')
    with pytest.raises(InputError, match="damaged in line 1"):
        folder.rows()


@pytest.mark.parametrize(
    "line",
    ["[1]", "5", "{}", '{"phase": "meta"}', '{"phase": "a", "step": "x"}', '{"phase": "a", "step": 1, "time": null}'],
)
def test_a_line_that_is_no_row_is_named(folder, line):
    (folder.path / "metrics.jsonl").write_text('{"phase": "meta", "step": 1}\n' + line + "\n")
    with pytest.raises(InputError, match="damaged in line 2; expected phase, step and time"):
        folder.rows()


def test_time_goes_on_where_a_resumed_run_left_off(folder):
    (folder.path / "metrics.jsonl").write_text('{"phase": "meta", "step": 0, "time": 100.0}\n')
    folder.close()
    again = RunFolder.create(folder.path, "meta", Config(), resume=True)
    again.log("meta", 1)
    again.log("meta", 2)
    again.close()
    _, first, second = again.rows()
    assert 100.0 <= first["time"] <= second["time"] < 160.0


def test_checkpoints_are_found_again_or_absent(folder):
    assert folder.load_checkpoint("last") is None
    folder.save_checkpoint("last", {"mu": torch.arange(3.0)}, {"step": 1})
    folder.save_checkpoint("last", {"mu": torch.arange(4.0)}, {"step": 2})
    tensors, header = folder.load_checkpoint("last")
    assert header == {"step": 2}
    assert torch.equal(tensors["mu"], torch.arange(4.0))


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(folder):
    path = folder.path / "checkpoints" / "last.safetensors"
    for step in range(5):
        folder.save_checkpoint("last", {"mu": torch.full((3,), float(step))}, {"step": step})
    assert sorted(p.name for p in path.parent.iterdir()) == [f"last{n}.safetensors" for n in (".1", ".2", "")]
    for step, broken in ((3, path), (2, path.with_name("last.1.safetensors"))):
        broken.write_bytes(broken.read_bytes()[:-2])
        with pytest.warns(
            UserWarning, match=r"last.safetensors is truncated.*; going on from the checkpoint before it"
        ):
            tensors, header = folder.load_checkpoint("last")
        assert header == {"step": step} and tensors["mu"].eq(step).all()
    path.with_name("last.2.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="last.safetensors is truncated"):
        folder.load_checkpoint("last")
    path.unlink()
    assert folder.load_checkpoint("last") is None


def test_a_file_system_without_links_keeps_checkpoints_too(folder, monkeypatch):
    def without(*names):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", without)
    for step in range(2):
        folder.save_checkpoint("last", {}, {"step": step})
    (folder.path / "checkpoints" / "last.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="going on from"):
        assert folder.load_checkpoint("last") == ({}, {"step": 0})


def test_results_are_json(folder):
    assert not folder.holds("stages/result")
    folder.write("stages/result", Inner((0.5,)))
    assert folder.holds("stages/result")
    assert folder.read("stages/result", Inner) == Inner((0.5,))
    folder.write("arrays", Inner(torch.tensor([0.5])))
    assert json.loads((folder.path / "arrays.json").read_text()) == {"rates": [0.5]}
    with pytest.raises(InputError, match="cannot read .*missing.json"):
        folder.read("missing", Inner)
    for text, message in (
        ("[1]", "result.json: holds a list; expected an object with the fields of Inner"),
        ("{", "result.json is damaged"),
        ('{"rates": [1, "x"]}', r"result.json: rates\[1\]: got 'x' \(str\); expected a number"),
        ("[" * 100_000, "result.json is damaged"),
    ):
        (folder.path / "stages/result.json").write_text(text)
        with pytest.raises(InputError, match=message):
            folder.read("stages/result", Inner)


@pytest.mark.parametrize("name", ["../out", "/tmp/out"])
def test_names_stay_inside_the_folder(folder, name):
    with pytest.raises(InputError, match="expected a path inside the run folder"):
        folder.write(name, Inner())
    with pytest.raises(InputError, match="expected a path inside the run folder"):
        folder.load_checkpoint(f"../{name}")
