"""What is sampled of an attached schedule is what it has for that number of steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_dropped import HALF, STEPS, WAYS

SCRIPT = Path(__file__).with_name("host_dropped.py")


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("way", WAYS)
def test_no_level_is_dropped_and_none_is_invented(
    host_answer: Callable[..., dict[str, Any]], way: str, steps: int
) -> None:
    rows = host_answer(SCRIPT)["whole"][str(steps)]
    assert rows[way] == rows["right"]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("way", [*HALF, "BasicScheduler"])
def test_a_second_pass_gets_the_last_levels_of_a_longer_schedule(
    host_answer: Callable[..., dict[str, Any]], way: str, steps: int
) -> None:
    rows = host_answer(SCRIPT)["half"][str(steps)]
    assert rows[way] == rows["right"]
