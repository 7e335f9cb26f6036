"""Entry point: finds the command, reads its configuration file, parses the rest, turns errors into one line."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from base_fast.cli.output import readable
from base_fast.cli.register import HELP, without_registrations
from base_fast.cli.sections import open_sections
from base_fast.engine import broken, launched
from base_fast.errors import Diverged, InputError, Interrupted, RankFailed
from base_fast.runs import interruptible
from base_fast.runs.provenance import package_version

# Name on the command line -> class and module, so that a command imports only what it needs.
COMMANDS = {
    "prepare": ("Prepare", "decode a data set once into memory-mapped stores"),
    "meta-train": ("MetaTrain", "learn a prior over weights and architectures from many tasks"),
    "adapt": ("Adapt", "adapt a saved posterior to a data set"),
    "merge": ("Merge", "join posteriors that were meta-trained apart, and say how far apart they were"),
    "derive": ("Derive", "read genotypes off a posterior"),
    "train": ("Train", "train the network of a genotype"),
    "evaluate": ("Evaluate", "score a trained network, class by class; count its parameters and multiply-adds"),
    "predict": ("Predict", "say what a trained network sees in images, as CSV or JSON"),
    "export": ("Export", "write a trained network as ONNX or torch.export, checked against it"),
    "compare": ("Compare", "prior against scratch against random genotypes: all of the above, in one table"),
    "search": ("Search", "run a search strategy on an objective: a table, shared weights, trained networks"),
    "pareto": ("Pareto", "the front of a search with several goals, or of tables: table, picture, genotypes"),
    "latency": ("Latency", "measure latency here: of a network's parts, and of whole networks beside their sum"),
    "predict-latency": ("PredictLatency", "latency on a new device, from ten measurements and devices that are known"),
    "collect": ("Collect", "train random genotypes alike: a database to place cells in"),
    "fit-value": ("FitValue", "learn what genotypes are worth on which tasks, from a database of trainings"),
    "suggest": ("Suggest", "genotypes for a data set before anything is trained on it, by a value network"),
    "compare-strategies": ("CompareStrategies", "compare searches on a benchmark's table of all genotypes"),
    "study-controller": ("StudyController", "study what a controller's states know, without and with a memory buffer"),
    "forecast": ("ForecastCommand", "say what a meta-training will take: memory, time, the largest batch, a cluster"),
    "search-language": ("SearchLanguage", "search the recurrent cell of a language model on any text"),
    "train-language": ("TrainLanguage", "train the language model of a recurrent cell on any text"),
    "evaluate-language": ("EvaluateLanguage", "score a trained language model on a text"),
    "train-instance": ("TrainInstance", "train a network that chooses its blocks for every image (InstaNAS)"),
    "study-value": ("StudyValue", "study a value network's first pick on tasks that it never saw"),
    "study-nao": ("StudyNao", "study NAO's predictor, decoder and gradient steps on a table"),
    "report": ("Report", "write a run's HTML page and pictures"),
    "doctor": ("Doctor", "say what is installed here and which kernel serves which op"),
}

# What a shell expects of a program that Ctrl-C ended; SIGTERM, which saves as well, ends with the same.
INTERRUPTED = 130


# What helps against an error of the operating system, whose own message names the file.
REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "; free space or choose another place")
REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "; change its permissions or choose another place")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (an error, explained in a line), 2 (bad usage) or 130 (interrupted)."""
    with readable():
        status = _main(list(sys.argv[1:] if arguments is None else arguments))
    if broken():
        # Exchanges with other ranks are under way that nobody will end, and that Python would wait for.
        os._exit(status)
    return status


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"base-fast {package_version() or '(not installed)'}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"did you mean {close[0]}? There" if close else "there"
        return _complain("base-fast", f"no command {name!r}; {meant} are {', '.join(COMMANDS)}", 2)
    program = f"base-fast {name}"
    try:
        with launched() as engine, interruptible() if engine.world > 1 else nullcontext():
            return _run(name, rest)
    except (InputError, Diverged, RankFailed) as error:
        return _complain(program, str(error))
    except OSError as error:
        return _complain(program, f"{error}{REMEDIES.get(error.errno or 0, '')}")
    except MemoryError as error:
        return _complain(program, f"out of memory ({' '.join(str(error).split()) or 'no details'}); take less at once")
    except Interrupted as error:
        # First, so that no option that takes several values swallows it.
        words = [name, "--resume", *(word for word in rest if word not in ("--resume", "--no-resume"))]
        return _complain(program, f"{error}; resume with: base-fast {shlex.join(words)}", INTERRUPTED)
    except KeyboardInterrupt:
        return _complain(
            program, "stopped immediately; --resume continues from the last checkpoint, if there is one", INTERRUPTED
        )


def _complain(program: str, message: str, status: int = 1) -> int:
    """Say on standard error, in one line, why a command ends; names and values in it may hold anything."""
    print(f"{program}: {_in_one_line(message)}", file=sys.stderr)
    return status


def _in_one_line(message: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def _run(name: str, rest: list[str]) -> int:
    command = _at_home(_parse(name, without_registrations(rest)))
    with _tidy_warnings(f"base-fast {name}"):
        return int(command.execute())


def _at_home(value: Any) -> Any:
    """A command whose paths are written out where they begin with `~`."""
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    if isinstance(value, tuple):
        return tuple(_at_home(item) for item in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    settable = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    changed = {name: _at_home(found) for name, found in settable.items()}
    return replace(value, **changed) if changed != settable else value


@contextmanager
def _tidy_warnings(program: str) -> Iterator[None]:
    """Print warnings to users as one line, without the place in this package that they came from."""
    formatted = warnings.formatwarning

    def tidy(message: Any, category: type[Warning], *place: Any, **more: Any) -> str:
        if issubclass(category, UserWarning) and not issubclass(category, DeprecationWarning):
            return f"{program}: {_in_one_line(' '.join(str(message).split()))}\n"
        return formatted(message, category, *place, **more)

    warnings.formatwarning = tidy
    try:
        yield
    finally:
        warnings.formatwarning = formatted


def _parse(name: str, rest: list[str]) -> Any:
    """The command of that name as the words describe it."""
    import tyro

    from base_fast.cli.command import RunReader
    from base_fast.cli.spaces import named_spaces

    module = importlib.import_module(f"base_fast.cli.{name.replace('-', '_')}")
    command = getattr(module, COMMANDS[name][0])
    description = f"{module.__doc__} {command.__doc__}\n\n{HELP}"
    default, rest = _default(command, command.prepared(rest))

    def chosen(default: Any) -> Any:
        words = rest
        if default is not None:
            default, words = open_sections(default, rest)
        return tyro.cli(
            command,
            args=words,
            prog=f"base-fast {name}",
            description=description,
            # An optional section is absent or there, as `open_sections` found; no subcommand chooses.
            config=(tyro.conf.AvoidSubcommands,),
            registry=named_spaces(),
            **({"default": default} if default else {}),
        )

    found = chosen(default)
    if isinstance(found, RunReader) and found.Settings is not None and found.run is not None:
        return chosen(default.of_run(found.run.expanduser()))
    return found


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
            default = default.configured(Path(os.path.expanduser(path)))
        else:
            kept.append(word)
    return default, kept


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return f"""usage: base-fast COMMAND [--help] [options]

Bayesian meta architecture search: learn a prior over networks once, adapt it to a new data set in minutes.

{commands}

Commands with settings read them from --config FILE (.toml); options override the file.
{HELP}"""
