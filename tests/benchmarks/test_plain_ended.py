"""Optimisations that are ended early: the limit, and a cell from end to end."""

import math
from pathlib import Path

import pytest
from align_your_steps.benchmarks import plain_ended
from align_your_steps.benchmarks.plain_ended import Limit


def test_a_limit_is_a_surprise_or_known() -> None:
    surprise, known = Limit(100, known=False), Limit(100, known=True)
    assert [surprise.left(rows) for rows in (0, 99, 100, 120)] == [math.inf, math.inf, 0.0, 0.0]
    assert [known.left(rows) for rows in (0, 99, 100, 120)] == [100, 1, 0, 0]


def test_a_cell_is_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "--budgets 600 --runs 1 --steps 5 --solvers euler --problems gaussian-256 --shares 0.1"
    arguments = [*asked.split(), "--ends", "by hand", "--cells", str(tmp_path / "cells.jsonl")]
    plain_ended.main(arguments)
    printed = capsys.readouterr().out
    kept = (tmp_path / "cells.jsonl").read_text(encoding="utf-8")
    assert printed.startswith("10% of 600 by hand: ")
    assert kept.count("\n") == 1
    plain_ended.main(arguments)
    assert capsys.readouterr().out == printed
    assert (tmp_path / "cells.jsonl").read_text(encoding="utf-8") == kept
