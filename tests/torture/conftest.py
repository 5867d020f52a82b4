"""Tests of faults: what is killed, damaged, forged or lacking, how often, and what is lost by it.

`make test` runs a short version of them, `make torture` the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def at_length(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """The first of two numbers of trials in `make test`, the second in `make torture`."""
    whole = pytestconfig.getoption("--torture")
    return lambda short, long: long if whole else short


@pytest.fixture
def fault(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Put a row into the table at the end, then fail unless every trial was survived.

    fault(what, trials=..., survived=..., lost=..., remark="") where `lost` counts what a user had
    and has no more. Call it once all trials are over.
    """

    def report(what: str, *, trials: int, survived: int, lost: int = 0, remark: str = "") -> None:
        row = {"fault": what, "trials": trials, "survived": survived, "lost": lost}
        record_property("fault", {**row, "remark": remark})
        assert trials > 0
        assert (survived, lost) == (trials, 0), f"{what}: {remark}"

    return report
