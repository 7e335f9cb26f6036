"""One folder per run: everything that it was told, measured, saved and concluded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from base_fast.engine import current, rank_log, restarted
from base_fast.errors import InputError
from base_fast.runs.artefacts import RunInfo
from base_fast.runs.changeable import unchangeable
from base_fast.runs.checkpoints import load_checkpoint, save_checkpoint
from base_fast.runs.config_files import config_text, load_config, save_config, to_dict
from base_fast.runs.json_files import read_json
from base_fast.runs.lock import hold
from base_fast.runs.provenance import provenance
from base_fast.runs.storage import atomic_write, naming, remove_unfinished

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")
_ABSENT = "nothing"


class RunFolder:
    """A run on disk; make one with `create` or `open`.

    path    the folder
    info    run.json
    """

    def __init__(self, path: Path, info: RunInfo) -> None:
        self.path = path
        self.info = info
        self._began = time.monotonic()
        self._seconds_before: float | None = None
        self._file: IO[str] | None = None
        self._lock: IO[str] | None = None
        self._writers: dict[str, SummaryWriter | None] = {}
        self._purge: dict[str, int] = {}
        self._engine = current()

    @property
    def follows(self) -> bool:
        """Whether another process has the folder, and this one only learns what is in it."""
        return self._engine.rank > 0

    @classmethod
    def create(
        cls,
        path: str | Path,
        kind: str,
        config: Any,
        resume: bool = False,
        inputs: Mapping[str, str] | None = None,
    ) -> RunFolder:
        """Start a run of `kind` with the dataclass `config`, or go on with one that has the same kind and config.

        A run that goes on may have other settings where these are `changeable`; it keeps the new ones.

        Of several processes rank 0 has the folder: only it writes, what it reads all others get, and what these print
        goes to the folder's ranks/<rank>.log. A process that a launcher started again goes on with its run.

        The folder is locked until `close`, so that no second process writes to it, and a run that was killed at any
        moment can be resumed; what such a kill left half-written is removed.

        inputs: what the run depends on besides its configuration, by name; in words or as a digest.

        Raises InputError when `path` holds a run and `resume` is False, when a run to resume is of another kind, has
        another configuration (the first field that differs is named) or other inputs, when another process is at
        work in `path` (it is named), and when `path` is no folder or holds files of which no run.json tells.
        """
        inputs, path = dict(inputs or {}), Path(os.path.expanduser(path))
        engine = current()
        for rank, (other, settings) in enumerate(engine.gather((inputs, unchangeable(config)))):
            found = _first_difference({**inputs, "": unchangeable(config)}, {**other, "": settings})
            if found is not None:
                raise InputError(
                    f"rank {rank} differs from rank {engine.rank} in {found[0]}: {found[2]!r}, not {found[1]!r}"
                )
        own: list[RunFolder] = []

        def make() -> RunInfo:
            own.append(cls._make(path, kind, config, resume or restarted(), inputs))
            return own[0].info

        info = engine.first(make)
        if own:
            own[0]._engine = engine
            return own[0]
        rank_log.attach(path / "ranks" / f"{engine.rank}.log")
        return cls(path, info)

    @classmethod
    def _make(cls, path: Path, kind: str, config: Any, resume: bool, inputs: dict[str, str]) -> RunFolder:
        begun, told = (path / "run.json").exists(), (path / "config.toml").exists()
        if begun and told and not resume:
            raise InputError(f"{path} already holds a run; resume it (--resume) or choose another folder")
        for name in ("config.toml", "metrics.jsonl", "checkpoints"):
            # The very settings alone are what a start left that was cut off; other ones may be the user's own.
            left = name == "config.toml" and _holds_text(path / name, config_text(config))
            if not begun and (path / name).exists() and not left:
                raise InputError(f"{path} holds {name} but no run, which would use it; choose another folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the run folder {path}: {error.strerror or error}") from None
        lock = hold(path / ".lock", f"{path} is in use")
        try:
            remove_unfinished(path)
            # Between these two files lies the one moment at which a run that was cut off has nothing to resume.
            unborn = begun and not told and not any((path / name).exists() for name in ("metrics.jsonl", "checkpoints"))
            if begun and not unborn:
                folder = cls._resume(path, kind, config, inputs)
            else:
                folder = cls(path, RunInfo(kind, inputs, provenance()))
                folder.write("run", folder.info)
                save_config(path / "config.toml", config)
        except BaseException:
            lock.close()
            raise
        folder._lock = lock
        return folder

    @classmethod
    def _resume(cls, path: Path, kind: str, config: Any, inputs: dict[str, str]) -> RunFolder:
        folder = cls(path, read_json(path / "run.json", RunInfo))
        if folder.kind != kind:
            raise InputError(f"{path} holds a run of kind {folder.kind!r}; expected {kind!r}")
        before = load_config(path / "config.toml", type(config))
        difference = _first_difference(unchangeable(before), unchangeable(config))
        if difference is not None:
            name, was, now = difference
            raise InputError(f"{path} was made with another configuration: {name} was {was!r} and is now {now!r}")
        was = folder.info.inputs
        if was != inputs:
            name = next(n for n in {**was, **inputs} if was.get(n) != inputs.get(n))
            raise InputError(f"{path} was made with another {name}: {was.get(name)} then, {inputs.get(name)} now")
        if before != config:
            save_config(path / "config.toml", config)
        folder.info = replace(folder.info, resumed=(*folder.info.resumed, provenance()))
        folder.write("run", folder.info)
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run that exists. Raises InputError when `path` holds none."""
        path = Path(os.path.expanduser(path))

        def info() -> RunInfo:
            if not (path / "run.json").exists():
                raise InputError(f"{path} is not a run folder: it has no run.json")
            return read_json(path / "run.json", RunInfo)

        return cls(path, current().first(info))

    @property
    def kind(self) -> str:
        """What made the run, as given to `create`."""
        return self.info.kind

    def config(self, cls: type[T]) -> T:
        """The run's configuration. Raises InputError when it does not fit the dataclass `cls`."""
        return self._engine.first(lambda: load_config(self.path / "config.toml", cls))

    def log(self, phase: str, step: int, **values: Any) -> None:
        """Append one row to metrics.jsonl, at once, and its scalars to TensorBoard when that is installed.

        values: numbers, strings, None, lists, dicts, tensors, arrays. The row's "time" is seconds of work, which go on
        counting where a resumed run left off. Raises TypeError for a value that JSON cannot hold.
        """
        if self.follows:
            return
        if self._seconds_before is None:
            self._seconds_before = max((float(row.get("time", 0.0)) for row in self._rows()), default=0.0)
        seconds = self._seconds_before + time.monotonic() - self._began
        row = {"phase": phase, "step": step, "time": round(seconds, 3), **values}
        line = json.dumps(row, default=_listed)
        with naming(self._metrics):
            if self._file is None:
                self._file = _open_for_append(self._metrics)
            self._file.write(line + "\n")
            self._file.flush()
        writer = self._writer(phase)
        if writer is not None:
            for name, value in _scalars(json.loads(line)):
                if name not in ("step", "time"):
                    writer.add_scalar(name, value, step)

    def truncate(self, phase: str, after_step: int) -> int:
        """Drop the rows of `phase` beyond `after_step`: what a run wrote after the checkpoint it resumes from.

        Returns the step of the phase's last row now, or −1.
        """
        return self._engine.first(lambda: self._truncate(phase, after_step))

    def _truncate(self, phase: str, after_step: int) -> int:
        rows = self._rows()
        kept = [row for row in rows if row["phase"] != phase or row["step"] <= after_step]
        self._close_file()
        if len(kept) < len(rows):
            atomic_write(self._metrics, "".join(json.dumps(row) + "\n" for row in kept).encode())
        writer = self._writers.pop(phase, None)
        if writer is not None:
            writer.close()
        self._purge[phase] = after_step + 1
        return max((int(row["step"]) for row in kept if row["phase"] == phase), default=-1)

    def rows(self, phase: str | None = None) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, of one phase or all, in the order in which they were written.

        A last line that was cut off by a crash is passed over; raises InputError for damage elsewhere.
        """
        return self._engine.first(lambda: [row for row in self._rows() if phase in (None, row["phase"])])

    def _rows(self) -> list[dict[str, Any]]:
        if not self._metrics.exists():
            return []
        rows = []
        lines = self._metrics.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                if number == len(lines):  # no newline after it
                    break
                raise InputError(f"{self._metrics} is damaged in line {number}; expected one JSON object") from None
            if not _is_row(row):
                raise InputError(f"{self._metrics} is damaged in line {number}; expected phase, step and time of a row")
            rows.append(row)
        return rows

    def save_checkpoint(self, name: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Replace the checkpoint `name` by these tensors and this JSON header, atomically; the ones before it are kept.

        The rows logged before are on the disk first, so that the checkpoint never knows of rows that are not there.
        """
        if self.follows:
            return
        if self._file is not None:
            os.fsync(self._file.fileno())
        save_checkpoint(self._checkpoint(name), tensors, header)

    def load_checkpoint(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors and the header of the checkpoint `name`, or None when there is none yet.

        Where the last one written is damaged, it is one before it, with a warning. Raises InputError when all are.
        """
        path = self._checkpoint(name)
        return self._engine.first(lambda: load_checkpoint(path))

    def write(self, name: str, value: Any) -> None:
        """Write a dataclass to `<name>.json`, atomically; tensors and arrays become lists (see `runs.artefacts`)."""
        text = json.dumps(to_dict(value), indent=2, default=_listed) + "\n"
        atomic_write(self._artefact(name), text.encode())

    def read(self, name: str, cls: type[T]) -> T:
        """Read `<name>.json` as the dataclass `cls`.

        Raises InputError that names the file, and the field, when it is missing, damaged or not a `cls`.
        """
        return self._engine.first(lambda: read_json(self._artefact(name), cls))

    def holds(self, name: str) -> bool:
        """Whether `<name>.json` is there."""
        return self._engine.first(lambda: self._artefact(name).is_file())

    def close(self) -> None:
        """Flush and close the files, and give the folder free; logging again opens the files again."""
        self._close_file()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        for writer in self._writers.values():
            if writer is not None:
                writer.close()
        self._writers.clear()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def _checkpoint(self, name: str) -> Path:
        return self._inside(f"checkpoints/{name}.safetensors")

    def _artefact(self, name: str) -> Path:
        return self._inside(f"{name}.json")

    def _inside(self, name: str) -> Path:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"name: got {name!r}; expected a path inside the run folder")
        return self.path / name

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _writer(self, phase: str) -> SummaryWriter | None:
        # A writer per phase: TensorBoard overlays them, and can purge one without the others.
        if phase not in self._writers:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._writers[phase] = None
            else:
                folder = self.path / "tensorboard" / phase
                self._writers[phase] = SummaryWriter(str(folder), purge_step=self._purge.pop(phase, None))
        return self._writers[phase]


def _open_for_append(path: Path) -> IO[str]:
    # A line cut off by a crash would swallow the row that is appended to it.
    if path.exists():
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            atomic_write(path, data[: data.rfind(b"\n") + 1])
    return path.open("a", encoding="utf-8")


def _holds_text(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    # Without a time: rows that something else wrote.
    kinds = (row.get("phase"), str), (row.get("step"), int), (row.get("time", 0.0), (int, float))
    return all(isinstance(value, kind) for value, kind in kinds)


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"got a value of type {type(value).__name__}; expected numbers, strings, lists, dicts, tensors")


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", float(value)


def _first_difference(was: Any, now: Any, path: str = "") -> tuple[str, Any, Any] | None:
    if was == now:
        return None
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in {**was, **now}:
            inner = f"{path}.{key}" if path else str(key)
            found = _first_difference(was.get(key, _ABSENT), now.get(key, _ABSENT), inner)
            if found is not None:
                return found
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (before, after) in enumerate(zip(was, now, strict=True)):
            found = _first_difference(before, after, f"{path}[{index}]")
            if found is not None:
                return found
    return path, was, now
