from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import tyro

from base_fast.errors import InputError
from base_fast.random import key
from base_fast.tasks import SourceConfig, TargetConfig, TaskConfig, open_source, open_target, open_tasks
from base_fast.tasks.config import parse_classes
from base_fast.tasks.optional import require


def test_digits_by_default():
    source = open_source(SourceConfig())
    assert (source.name, source.num_classes) == ("digits", 10)


def test_classes_are_kept_and_renumbered():
    source = open_source(SourceConfig(classes="7-9,0"))
    assert source.class_names == ("7", "8", "9", "0")


def test_classes_called_by_numbers_are_meant_by_them(tmp_path, encode):
    for name in range(1, 12):
        (tmp_path / "set" / str(name)).mkdir(parents=True)
        (tmp_path / "set" / str(name) / "a.jpg").write_bytes(encode())
    config = SourceConfig("folder", str(tmp_path / "set"))
    assert open_source(config).class_names == tuple(map(str, range(1, 12)))
    assert open_source(replace(config, classes="1-3,10")).class_names == ("1", "2", "3", "10")
    with pytest.raises(InputError, match="classes: set has no class 0, expected some of 1 to 11"):
        open_source(replace(config, classes="0-3"))


@pytest.mark.parametrize(("text", "classes"), [("0-3", [0, 1, 2, 3]), ("5", [5]), (" 0, 3 , 5 - 7", [0, 3, 5, 6, 7])])
def test_parse_classes(text, classes):
    assert parse_classes(text) == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "expected numbers"),
        ("1,,2", "expected numbers"),
        ("5-2", "2-5"),
        ("0-999999999", "are 1,000,000,000, expected at most"),
        ("9" * 5000, "expected numbers"),
    ],
)
def test_parse_classes_errors(text, message):
    with pytest.raises(InputError, match=message):
        parse_classes(text)


def test_folders_with_and_without_a_split(tmp_path, encode):
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(2 if part == "train" else 1):
                (tmp_path / part / name / f"{i}.jpg").write_bytes(encode())
    train, val = (open_source(SourceConfig("folder", str(tmp_path), split=s)) for s in ("train", "val"))
    assert (len(train.labels), len(val.labels)) == (4, 2)
    assert train.name == tmp_path.name
    named = open_source(SourceConfig("folder", str(tmp_path / "val"), name="pets"))
    assert (named.name, len(named.labels)) == ("pets", 2)
    with pytest.raises(InputError, match="split: 'test', but .* has no such folder; it has train, val"):
        open_source(SourceConfig("folder", str(tmp_path), split="test"))
    with pytest.raises(InputError, match="split: 'val', but .* its folders are classes"):
        open_source(SourceConfig("folder", str(tmp_path / "val"), split="val"))


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_validation_may_lack_classes(tmp_path, encode, write_tar, kind):
    """Folders of a class that are missing or empty, and shards whose largest label is missing."""
    for part, classes in (("train", "abc"), ("val", "ca")):
        members = [
            m for i, c in enumerate(classes) for m in ((f"{i}.jpg", encode()), (f"{i}.cls", b"%d" % "abc".index(c)))
        ]
        write_tar(tmp_path / f"{part}.tar", members)
        for name in classes:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "0.jpg").write_bytes(encode())
    (tmp_path / "val" / "b").mkdir()
    config = SourceConfig(kind, str(tmp_path))
    target = TargetConfig(config, replace(config, split="val"), resolution=8)
    assert open_target(target).valid.labels.bincount(minlength=3).tolist() == [1, 0, 1]
    if kind == "folder":
        (tmp_path / "val" / "b").rename(tmp_path / "val" / "d")
        assert len(open_target(target).valid) == 2  # an empty folder is no class
        (tmp_path / "val" / "d" / "0.jpg").write_bytes(encode())
        with pytest.raises(
            InputError, match="has images of 'd', but those to learn from have none; these have 'b' besides"
        ):
            open_target(target)


def test_shards_by_split_and_by_path(tmp_path, encode, write_tar):
    members = [("0.jpg", encode()), ("0.cls", b"0"), ("1.jpg", encode()), ("1.cls", b"1")]
    write_tar(tmp_path / "set-train-0.tar", members)
    write_tar(tmp_path / "set-train-1.tar.gz", members)
    write_tar(tmp_path / "set-val-0.tar", members)
    train = open_source(SourceConfig("shards", str(tmp_path), cache_dir=str(tmp_path / "cache")), 8)
    assert len(train.labels) == 4
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert len(open_source(SourceConfig("shards", str(tmp_path), split="val"), 8).labels) == 2
    assert len(open_source(SourceConfig("shards", str(tmp_path / "*.tar"), split="x"), 8).labels) == 4
    with pytest.raises(InputError, match=r"no .tar or .tar.gz file with 'test' in its name"):
        open_source(SourceConfig("shards", str(tmp_path), split="test"), 8)


def test_torchvision(tmp_path):
    with pytest.raises(InputError, match="CIFAR10 cannot be opened"):
        open_source(SourceConfig("torchvision", str(tmp_path), "CIFAR10"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "folder"}, "path: empty"),
        ({"max_corrupt": 2.0}, "max_corrupt"),
        ({"kind": "zip", "path": "x"}, "kind"),
    ],
)
def test_source_config_errors(options, message):
    with pytest.raises(InputError, match=message):
        open_source(SourceConfig(**options))


@pytest.mark.parametrize(
    ("kind", "module", "package"),
    [
        ("digits", "sklearn.datasets", "scikit-learn"),
        ("torchvision", "torchvision.datasets", "torchvision"),
        ("shards", "braceexpand", "braceexpand"),
        ("folder", "PIL.Image", "pillow"),
    ],
)
def test_missing_packages(tmp_path, encode, monkeypatch, kind, module, package):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(encode())
    (tmp_path / "set-train.tar").write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "*.tar" if kind == "shards" else tmp_path
    with pytest.raises(InputError, match=rf"the source {kind}.* needs the package {package}: pip install"):
        open_source(SourceConfig(kind, str(path)))


def test_a_package_that_is_broken_is_not_called_absent(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "torn_package.py").write_text("from os import no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("broken_package", "torn_package"):
        with pytest.raises(InputError, match=rf"the source x: the package {name} is there, but cannot be imported \("):
            require(name, name, "the source x")


def test_open_tasks():
    config = TaskConfig((SourceConfig(classes="0-6"),), ways=(2, 3), resolutions=(8, 16), examples_per_class=20)
    task = open_tasks(config).sample(key(0))
    assert task.num_classes in (2, 3)
    assert len(task.train) == 16 * task.num_classes
    with pytest.raises(InputError, match="resolutions: none"):
        open_tasks(TaskConfig(resolutions=()))


def test_the_command_line(capsys):
    arguments = ["--ways", "2", "5", "--resolutions", "8", "--sources.0.classes", "0-6", "--examples-per-class", "30"]
    config = tyro.cli(TaskConfig, args=arguments)
    assert (config.ways, config.resolutions, config.examples_per_class) == ((2, 5), (8,), 30)
    assert config.sources[0].classes == "0-6"
    assert tyro.cli(TaskConfig, args=["--ways", "4"]).ways == 4
    with pytest.raises(SystemExit):
        tyro.cli(SourceConfig, args=["--help"])
    assert "Keep only these classes" in capsys.readouterr().out
