"""What the tests that drive a real host have in common, and what is told of them at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from align_your_steps.tests.tables import markdown_table, recorded

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder with `host`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("host")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A row for every graph that a test has recorded as the property `executed graph`."""
    rows = recorded(terminalreporter, "executed graph")
    if rows:
        terminalreporter.section("Executed graphs")
        for line in markdown_table(rows):
            terminalreporter.line(line)
