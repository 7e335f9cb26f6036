"""Texts as numbers: vocabulary, splits, and files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from base_fast.errors import InputError
from base_fast.tasks.text import PYTHON, TextConfig, Vocabulary, open_corpus, split

TEXT = "the cat sat .\nThe dog ran away .\n\nthe cat ran .\n"


def test_words_of_three_kinds() -> None:
    assert list(split("A b,c\n\nd", "spaces")) == ["A", "b,c", "<eos>", "<eos>", "d", "<eos>"]
    assert list(split("A b,c", "words")) == ["a", "b", ",", "c", "<eos>"]
    assert list(split("A b", "characters")) == ["A", " ", "b", "<eos>"]


def test_a_vocabulary_keeps_the_most_frequent_and_numbers_the_rest_as_unknown() -> None:
    vocabulary = Vocabulary.of(split(TEXT, "spaces"), "spaces", 5)
    assert vocabulary.words == ("<unk>", "<eos>", ".", "the", "cat")
    assert vocabulary.encode("the cow . <unk>").tolist() == [3, 0, 2, 0, 1]


def test_parts_of_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"dog\n"))
    corpus = open_corpus(TextConfig(tmp_path / "a.txt", test=tmp_path / "b.txt.gz", valid_fraction=0.25))
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [13, 4, 2]
    assert corpus.name == "a.txt" and corpus.test[0].item() == corpus.vocabulary.words.index("dog")
    short = open_corpus(TextConfig(tmp_path / "a.txt", tmp_path / "a.txt", limit=4))
    assert short.train.tolist() == [2, 3, 4, 5] and short.valid[5].item() == 0
    assert short.digest != corpus.digest


def test_the_text_that_every_python_has() -> None:
    corpus = open_corpus(TextConfig(unit="words", vocabulary=500))
    assert corpus.name == PYTHON and len(corpus.vocabulary) == 500 and len(corpus.train) > 50_000
    assert corpus.digest == open_corpus(TextConfig(unit="words", vocabulary=500)).digest


def test_bad_files_and_settings_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "empty").write_text("")
    (tmp_path / "broken.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="train: cannot read .*absent: No such file"):
        open_corpus(TextConfig(tmp_path / "absent"))
    with pytest.raises(InputError, match="is not text in UTF-8"):
        open_corpus(TextConfig(tmp_path / "bytes"))
    with pytest.raises(InputError, match="valid: cannot read"):
        open_corpus(TextConfig(valid=tmp_path / "broken.gz"))
    with pytest.raises(InputError, match="train: got 0 words, expected at least 2"):
        open_corpus(TextConfig(tmp_path / "empty"))
    with pytest.raises(InputError, match="valid_fraction: got 1.0"):
        TextConfig(valid_fraction=1.0)
