"""A stage of a comparison is done again where a file that it leaves is gone."""

from __future__ import annotations

from pathlib import Path

from base_fast.experiments import CompareConfig
from base_fast.experiments.comparison import _Comparison
from base_fast.runs import RunFolder
from base_fast.runs.artefacts import MetaTrained


def test_a_stage_whose_files_are_gone_is_done_again(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", "compare", CompareConfig()) as run:
        comparison = _Comparison(CompareConfig(), run, None, None)  # type: ignore[arg-type]
        left, done = tmp_path / "posterior", []

        def work() -> MetaTrained:
            left.write_text("")
            done.append(1)
            return MetaTrained(3, 1.0)

        for _ in range(2):
            assert comparison._stage("meta", MetaTrained, work, left) == MetaTrained(3, 1.0)
        assert len(done) == 1
        left.unlink()
        comparison._stage("meta", MetaTrained, work, left)
        assert len(done) == 2
