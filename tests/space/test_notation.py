"""Genotypes as people hold them: in logs, files and the notations of other code."""

from __future__ import annotations

import pickle
from dataclasses import asdict

import pytest

from base_fast.cli.train import read_genotype
from base_fast.errors import InputError
from base_fast.space import Genotype, genotypes

V2 = genotypes.DARTS_V2
NB = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
PRINTED = (
    f"Genotype(normal={list(V2.normal)!r}, normal_concat=range(2, 6), reduce={list(V2.reduce)!r}, "
    "reduce_concat=range(2, 6))"
)
BY_NODE = [[[list(pair) for pair in cell[i : i + 2]] for i in range(0, 8, 2)] for cell in (V2.normal, V2.reduce)]

DARTS_FORMS = {
    "printed": PRINTED,
    "lists": PRINTED.replace("range(2, 6)", "[2, 3, 4, 5]"),
    "list of a range": PRINTED.replace("range(2, 6)", "list(range(2, 6))"),
    "base_fast's own repr": repr(V2),
    "numpy 2": PRINTED.replace("', 0)", "', np.int64(0))"),
    "log line": f"05/12 03:14:15 PM genotype = {PRINTED}",
    "code": f"DARTS_V2 = {PRINTED}  # the second\n",
    "over lines": PRINTED.replace("), ", "),\n    "),
    "twice the same": f"{PRINTED}\n{PRINTED}",
    "by position": f"Genotype({list(V2.normal)}, (2, 3, 4, 5), {list(V2.reduce)}, range(2, 6))",
    "by node": f"Genotype(normal={BY_NODE[0]}, normal_concat=range(2, 6), reduce={BY_NODE[1]}, "
    "reduce_concat=range(2, 6))",
    "JSON": V2.to_json(),
    "JSON with a byte order mark": "\ufeff" + V2.to_json(),
    "dict as Python prints it": repr(asdict(V2)),
    "in a derivation": f'{{"genotype": {V2.to_json()}, "candidates": []}}',
    "the one of many names": f'{{"prior": {V2.to_json()}}}',
    "compact in quotes": f"'{V2.compact()}'",
    "compact in a log": f"derived: {V2.compact()}\nmost probable genotypes\n",
    "compact from a page": V2.compact().replace("->", "-&gt;"),
    "compact with commas": V2.compact().replace(" | ", ",").replace("3 sep", "3,sep"),
}
CELL_FORMS = {
    "plain": NB,
    "quoted": f'"{NB}"',
    "nodes": f"nodes=4: {NB}",
    "AutoDL-Projects": f"Structure(4 nodes with {NB})",
    "row of a table": f"12345,{NB},91.2",
}


@pytest.mark.parametrize("name", DARTS_FORMS)
def test_notations_of_darts(name: str) -> None:
    assert Genotype.parse(DARTS_FORMS[name]) == V2


@pytest.mark.parametrize("name", CELL_FORMS)
def test_notations_of_nas_bench_201(name: str) -> None:
    assert Genotype.parse(CELL_FORMS[name]).compact() == NB


DEEP = 100_000
BAD = {
    "[3, 3, 3, 1, 3, 3]": "which operation a number stands for .* NAS-Bench-201",
    f"{PRINTED} {PRINTED.replace('skip_connect', 'none')}": "2 different ones",
    PRINTED[:-9]: "ends before its last parenthesis",
    PRINTED.replace("range(2, 6)", "range(2, 1000000000)"): "cannot read 'range",
    PRINTED.replace("range(2, 6)", f"range(2, {10**30})"): "cannot read 'range",
    PRINTED.replace("range(2, 6)", "exit()"): r"cannot read 'exit\(\)'",
    PRINTED.replace("reduce=", "resuce="): "field 'reduce' is missing",
    "Genotype(" + "(" * DEEP + ")" * DEEP + ")": "cannot read",
    "{" * DEEP: "genotype: ",
    '{"normal":' + "[" * DEEP: "nested too deeply",
    "{'normal': " + "-" * DEEP + "1}": "genotype: ",
    '{"a": 1}': "has no field 'normal'",
    "{1: 2}": "a key that is no string",
    '{"normal": ' + "9" * 5000 + "}": "genotype: ",
    "x" * 10_000_001: "10,000,001 characters",
    "normal: a~0, -> 2; reduce: ~ -> 3": "cannot read '~'",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_cannot_be_read_is_said_in_a_short_line(text: str) -> None:
    with pytest.raises(InputError, match=BAD[text]) as found:
        Genotype.parse(text)
    assert len(str(found.value)) < 600 and "\n" not in str(found.value)


def test_nothing_is_executed(tmp_path) -> None:
    mark = tmp_path / "mark"
    for call in (f"open({str(mark)!r}, 'w')", f"__import__('pathlib').Path({str(mark)!r}).touch()"):
        with pytest.raises(InputError):
            Genotype.parse(f"Genotype(normal={call}, normal_concat=[], reduce=[], reduce_concat=[])")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["g.json", "G.JSON", "g.txt", "search.log", "g", "g~1.json", "a b.json"])
def test_any_file_will_do(tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for text in (V2.to_json(), PRINTED, V2.compact()):
        (tmp_path / name).write_text(text)
        assert read_genotype(name) == read_genotype(str(tmp_path / name)) == V2


def test_a_run_folder_will_do(tmp_path) -> None:
    (tmp_path / "genotype.json").write_text(V2.to_json())
    assert read_genotype(str(tmp_path)) == V2


@pytest.mark.parametrize("name", ["DARTS_V2", "darts_v2", "genotypes.DARTS_V2", " DARTS_V2 "])
def test_published_names(name: str) -> None:
    assert read_genotype(name) == V2


def test_what_is_not_there(tmp_path) -> None:
    for name in ("g~1.json", "nothing.json", "runs/nothing", "~/nothing.json", str(tmp_path)):
        with pytest.raises(InputError, match=r"--genotype: (no file|cannot read) .*"):
            read_genotype(name)
    with pytest.raises(InputError, match="did you mean DARTS_V2"):
        read_genotype("DARTS_V3")
    (tmp_path / "p").write_bytes(pickle.dumps(V2))
    with pytest.raises(InputError, match="is not text"):
        read_genotype(str(tmp_path / "p"))
    (tmp_path / "e.txt").write_text("nothing here")
    with pytest.raises(InputError, match="e.txt: genotype: cannot read 'nothing here'"):
        read_genotype(str(tmp_path / "e.txt"))
    with pytest.raises(InputError, match="cannot read"):
        read_genotype("normal: a\0b")
