"""Fixtures that the tests of a real host have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder with `host`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("host")
