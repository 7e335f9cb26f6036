"""What the commands share: options around the settings of a layer below, which a file can hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import tyro

from base_fast.errors import InputError
from base_fast.runs import RunFolder, load_config

C = TypeVar("C", bound="Command")

# Settings appear on the command line without a prefix: --meta.seed, not --settings.meta.seed.
Flat = tyro.conf.arg(name="")


@dataclass(frozen=True)
class Command(ABC):
    """A command: its options are its fields; `settings`, if it has one, is of type `Settings`."""

    Settings: ClassVar[type[Any] | None] = None

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

    def open_run(self, kind: str, settings: Any, **inputs: str) -> RunFolder:
        """The run folder, new or resumed; `inputs` are what it depends on besides the settings."""
        path = required("run", self.run, "a folder for the results")
        return RunFolder.create(path, kind, settings, self.resume, inputs)


def required(name: str, value: Path | None, what: str) -> Path:
    """An option that must be given."""
    if value is None:
        raise InputError(f"--{name}: not given, expected {what}")
    return value
