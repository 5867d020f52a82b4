"""The textbook points of the family are the host's own samplers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("host_multistep.py")

# They end above 0: there the host's UniPC goes to 0.001 in the place of 0.
LEVELS = {
    "ten": [14.6, 8.0, 5.0, 3.0, 2.0, 1.3, 0.8, 0.4, 0.2, 0.1, 0.03],
    "uneven": [80.0, 30.0, 8.0, 5.9, 0.9, 0.6, 0.5, 0.1],
    "three steps": [14.6, 2.0, 0.5, 0.05],
    "two steps": [14.6, 0.7, 0.05],
}


@pytest.fixture
def differences(host_answer: Callable[..., dict[str, Any]]) -> dict[str, dict[str, float]]:
    return host_answer(SCRIPT, json.dumps(LEVELS))


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "ipndm", "unipc_3", "exponential_2"])
def test_textbook_sampler_is_the_hosts(
    differences: dict[str, dict[str, float]], name: str, levels: str
) -> None:
    assert differences[name][levels] < 1e-5  # in single precision
