"""Text to learn a language model from: any files, their vocabulary, and the numbers of their words."""

from __future__ import annotations

import gzip
import importlib
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.runs import changeable
from base_fast.tasks.digest import digest

UNKNOWN, END = "<unk>", "<eos>"
PYTHON = "Python's documentation"

Unit = Literal["spaces", "words", "characters"]


@dataclass(frozen=True)
class TextConfig:
    """A text to learn from, and texts to measure on."""

    train: Path | None = changeable(None)
    """Text file to learn from, UTF-8, also as .gz; if unset, the documentation inside Python (pydoc_data.topics)."""
    valid: Path | None = changeable(None)
    """Text file to measure on while learning; the last part of `train` is held out if unset."""
    test: Path | None = changeable(None)
    """Text file to measure on at the end; none if unset."""
    valid_fraction: float = 0.1
    """Share of the words of `train` that is held out when there is no `valid`."""
    unit: Unit = "spaces"
    """spaces: words are what stands between spaces, as in PTB and WikiText. words: words and punctuation marks of raw
    text, in small letters. characters: every character is a word."""
    vocabulary: int = 10_000
    """The largest number of different words, the most frequent of `train`; all others are one, <unk>."""
    limit: int | None = None
    """The largest number of words to learn from; all if unset."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if not 0.0 < self.valid_fraction < 1.0:
            raise InputError(f"valid_fraction: got {self.valid_fraction!r}, expected a share between 0 and 1")
        if self.unit not in ("spaces", "words", "characters"):
            raise InputError(f"unit: got {self.unit!r}, expected spaces, words or characters")
        if self.vocabulary < 2:
            raise InputError(f"vocabulary: got {self.vocabulary}, expected an integer ≥ 2")
        if self.limit is not None and self.limit < 2:
            raise InputError(f"limit: got {self.limit}, expected an integer ≥ 2")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows; a word's number is its place. They contain `<unk>` and `<eos>`, a line's end."""

    words: tuple[str, ...]
    unit: Unit

    def __post_init__(self) -> None:
        if len(set(self.words)) < len(self.words) or not {UNKNOWN, END} <= set(self.words):
            raise InputError(
                f"words: got {len(self.words)}, expected different ones with {UNKNOWN} and {END} among them"
            )

    @classmethod
    def of(cls, words: Iterable[str], unit: Unit, most: int) -> Vocabulary:
        """The most frequent of `words`; of equally frequent ones those that come first."""
        counted = Counter(word for word in words if word not in (UNKNOWN, END))
        return cls((UNKNOWN, END, *(word for word, _ in counted.most_common(most - 2))), unit)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> Tensor:
        """The numbers (N,) int64 of a text's words."""
        return self.numbers(split(text, self.unit))

    def numbers(self, words: Iterable[str]) -> Tensor:
        """The numbers (N,) int64 of words."""
        unknown = self._numbers[UNKNOWN]
        return torch.tensor([self._numbers.get(word, unknown) for word in words], dtype=torch.int64, device="cpu")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        name: what it is called.
        vocabulary: V words.
        train, valid, test: (N,) int64 each; test may be empty.
    """

    name: str
    vocabulary: Vocabulary
    train: Tensor
    valid: Tensor
    test: Tensor

    @cached_property
    def digest(self) -> str:
        """Of all words and numbers."""
        vocabulary = self.vocabulary
        return digest(list(vocabulary.words), vocabulary.unit, self.train, self.valid, self.test)


def split(text: str, unit: Unit) -> Iterator[str]:
    """The words of a text, with `<eos>` at the end of every line."""
    for line in text.splitlines():
        if unit == "characters":
            yield from line
        elif unit == "words":
            yield from re.findall(r"\w+|[^\w\s]", line.lower())
        else:
            yield from line.split()
        yield END


def open_corpus(config: TextConfig) -> Corpus:
    """Read the files that `config` names.

    Raises:
        InputError: a file is missing or is no text, or too short to learn from.
    """
    name = PYTHON if config.train is None else config.train.name
    words = list(split(_python() if config.train is None else read_text("train", config.train), config.unit))
    if config.valid is None:
        held = int(len(words) * config.valid_fraction)
        words, valid = words[: len(words) - held], words[len(words) - held :]
    else:
        valid = list(split(read_text("valid", config.valid), config.unit))
    words = words[: config.limit]
    test = [] if config.test is None else list(split(read_text("test", config.test), config.unit))
    vocabulary = Vocabulary.of(words, config.unit, config.vocabulary)
    corpus = Corpus(name, vocabulary, *(vocabulary.numbers(part) for part in (words, valid, test)))
    for part, tokens in (("train", corpus.train), ("valid", corpus.valid)):
        if len(tokens) < 2:
            raise InputError(f"{part}: got {len(tokens)} words, expected at least 2")
    return corpus


def read_text(what: str, path: Path) -> str:
    """A file's text; `what` it is to messages.

    Raises:
        InputError: it is missing, or not UTF-8.
    """
    path = path.expanduser()
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{what}: cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{what}: {path} is not text in UTF-8") from None


def _python() -> str:
    """The language reference that `help()` shows: some 470,000 characters, the same for one version of Python."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return "\n".join(topics[name] for name in sorted(topics))
