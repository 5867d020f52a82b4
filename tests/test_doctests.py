"""Every example in a docstring gives what it prints."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import align_your_steps.benchmarks
import align_your_steps.optimizer
import align_your_steps.profiles
import align_your_steps.schedules
import pytest

PACKAGES = [
    align_your_steps.benchmarks,
    align_your_steps.optimizer,
    align_your_steps.profiles,
    align_your_steps.schedules,
]
MODULES = [
    name
    for package in PACKAGES
    for name in [
        package.__name__,
        *(info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")),
    ]
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_give_what_they_print(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_every_package_has_modules_to_look_at() -> None:
    for package in PACKAGES:
        assert sum(name.startswith(f"{package.__name__}.") for name in MODULES) > 0
