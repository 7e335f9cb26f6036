"""What the commands share: options around the settings of a layer below, which a file can hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from base_fast.errors import InputError
from base_fast.runs import RunFolder, load_config
from base_fast.tasks import Task, TaskDistribution
from base_fast.tasks.text import Corpus

C = TypeVar("C", bound="Command")
R = TypeVar("R", bound="RunReader")

# Settings appear on the command line without a prefix: --meta.seed, not --settings.meta.seed.
Flat = tyro.conf.arg(name="")


@dataclass(frozen=True)
class Command(ABC):
    """A command: its options are its fields; `settings`, if it has one, is of type `Settings`."""

    Settings: ClassVar[type[Any] | None] = None

    @classmethod
    def prepared(cls, words: Sequence[str]) -> list[str]:
        """The words of the command line as they are parsed, where users may write them in another way."""
        return list(words)

    @abstractmethod
    def execute(self) -> int:
        """Do it; the exit status."""

    def configured(self: C, path: Path) -> C:
        """The command with its settings read from a file."""
        if self.Settings is None:
            raise InputError("--config: this command has no settings to read from a file")
        read: dict[str, Any] = {"settings": load_config(path, self.Settings), "config": path}
        return replace(self, **read)


@dataclass(frozen=True)
class RunCommand(Command):
    """A command that fills a run folder."""

    run: Path | None = None
    """Folder for config, metrics, checkpoints and results."""
    resume: bool = False
    """Go on with the run in that folder."""
    config: Path | None = None
    """File (.toml) with the settings below; options override it."""

    def open_run(self, kind: str, settings: Any, *data: Task | TaskDistribution | Corpus, **inputs: str) -> RunFolder:
        """The run folder, new or resumed; `data` and `inputs` are what it depends on besides the settings."""
        path = required("run", self.run, "a folder for the results")
        sets = {f"data set{f' {i}' if i > 1 else ''}": one.digest for i, one in enumerate(data, start=1)}
        return RunFolder.create(path, kind, settings, self.resume, {**inputs, **sets})


@dataclass(frozen=True)
class RunReader(Command):
    """A command on a run folder that is there: `base-fast evaluate RUN`, or `--run RUN` anywhere on the line.

    Its settings, if it has any, are those of the run; options override them.
    """

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder."""

    @classmethod
    def prepared(cls, words: Sequence[str]) -> list[str]:
        """The words with the run folder in the first place, wherever `--run` named it."""
        for i, word in enumerate(words):
            if word == "--run" and i + 1 < len(words):
                return [words[i + 1], *words[:i], *words[i + 2 :]]
            if word.startswith("--run="):
                return [word.partition("=")[2], *words[:i], *words[i + 1 :]]
        return list(words)

    @classmethod
    def settings_of(cls, run: RunFolder) -> Any:
        """The settings that a run gives the command; None where it has none."""
        return None

    def of_run(self: R, path: Path) -> R:
        """The command with the settings of the run in `path`."""
        if self.Settings is None:
            return self
        read: dict[str, Any] = {"settings": self.settings_of(RunFolder.open(path))}
        return replace(self, **read)


def required(name: str, value: Path | None, what: str) -> Path:
    """An option that must be given."""
    if value is None:
        raise InputError(f"--{name}: not given, expected {what}")
    return value
