"""Tables for the end of a test run, of what tests have recorded with `record_property`."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["markdown_table", "recorded"]


def recorded(reporter: pytest.TerminalReporter, name: str) -> list[dict[str, Any]]:
    """Every row, a dict of columns, that a test has recorded under a name, with the result."""
    return [
        {**row, "result": "ok" if report.passed else "FAILED"}
        for outcome in ("passed", "failed")
        for report in reporter.getreports(outcome)
        for key, row in getattr(report, "user_properties", [])
        if key == name and report.when == "call"
    ]


def markdown_table(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table of rows that have the same columns."""
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
