"""Entry point: finds the command, reads its configuration file, parses the rest, turns errors into one line."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.runs.provenance import package_version

# Name on the command line -> class and module, so that a command imports only what it needs.
COMMANDS = {
    "meta-train": ("MetaTrain", "learn a prior over weights and architectures from many tasks"),
    "adapt": ("Adapt", "adapt a saved posterior to a data set"),
    "derive": ("Derive", "read genotypes off a posterior"),
    "train": ("Train", "train the network of a genotype"),
    "evaluate": ("Evaluate", "score a trained network; count its parameters and multiply-adds"),
    "compare": ("Compare", "prior against scratch against random genotypes: all of the above, in one table"),
    "search": ("Search", "run a search strategy on an objective: a table, shared weights, trained networks"),
    "collect": ("Collect", "train random genotypes alike: a database to place cells in"),
    "compare-strategies": ("CompareStrategies", "compare searches on a benchmark's table of all genotypes"),
    "report": ("Report", "write a run's HTML page and pictures"),
    "doctor": ("Doctor", "say what is installed here and which kernel serves which op"),
}

# What a shell expects of a program that Ctrl-C ended; SIGTERM, which saves as well, ends with the same.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (an error, explained in a line), 2 (bad usage) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"base-fast {package_version() or '(not installed)'}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        print(f"base-fast: no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return _run(name, rest)
    except (InputError, Diverged) as error:
        print(f"base-fast {name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # A full disk, a folder without permission: the message names the file.
        print(f"base-fast {name}: {error}; free space or choose another place", file=sys.stderr)
        return 1
    except Interrupted as error:
        resume = shlex.join([*(a for a in arguments if a != "--resume"), "--resume"])
        print(f"base-fast {name}: {error}; resume with: base-fast {resume}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print(
            f"base-fast {name}: stopped immediately; --resume continues from the last checkpoint, if there is one",
            file=sys.stderr,
        )
        return INTERRUPTED


def _run(name: str, rest: list[str]) -> int:
    import tyro

    module = importlib.import_module(f"base_fast.cli.{name.replace('-', '_')}")
    command = getattr(module, COMMANDS[name][0])
    description = f"{module.__doc__} {command.__doc__}"
    default, rest = _default(command, rest)
    chosen = tyro.cli(
        command,
        args=rest,
        prog=f"base-fast {name}",
        description=description,
        **({"default": default} if default else {}),
    )
    return int(chosen.execute())


def _default(command: Any, rest: list[str]) -> tuple[Any, list[str]]:
    """The command with `--config FILE` read into its settings, and the arguments without it.

    The file comes first and options override it, wherever on the line each stands.
    """
    if any(field.default is MISSING and field.default_factory is MISSING for field in fields(command)):
        return None, rest
    default = command()
    kept: list[str] = []
    words = iter(rest)
    for word in words:
        if word == "--config" or word.startswith("--config="):
            path = word.partition("=")[2] or next(words, None)
            if not path:
                raise InputError("--config: nothing follows, expected a .toml file")
            default = default.configured(Path(path))
        else:
            kept.append(word)
    return default, kept


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return f"""usage: base-fast COMMAND [--help] [options]

Bayesian meta architecture search: learn a prior over networks once, adapt it to a new data set in minutes.

{commands}

Commands with settings read them from --config FILE (.toml); options override the file."""
