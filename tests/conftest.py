"""What all tests share."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that the tests against a real ComfyUI were left out."""
    if os.environ.get("AYS_NO_HOST") == "1":
        terminalreporter.section("AYS_NO_HOST=1", red=True, bold=True)
        terminalreporter.line("NOTHING WAS TESTED IN A REAL COMFYUI.", red=True, bold=True)
