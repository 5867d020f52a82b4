"""Limits of a node's inputs, checked against its own declaration before it works.

The host checks what a widget holds, but NaN passes its limits, and what comes over a link is not
checked at all. So every value is looked at once more here, where it enters, by the limits that the
node declares for it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from comfy_api.latest import io

__all__ = ["SLACK", "checked_text", "name_fault", "shortened", "within_limits"]

LONGEST_TEXT = 10_000  # characters
SLACK = 1e-6  # by which a number that was computed may miss its limit
SHOWN = 60  # characters of a value in an error
LISTED_OPTIONS = 200  # characters of all options in an error


def within_limits(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """An `execute` whose inputs are as its node declares them; unknown ones are left out.

    Raises ValueError, in a sentence, for numbers out of range, NaN, other types, and texts that are
    too long. Links to objects are looked at where these are used, schedules' names by `choose`.
    """
    parameters = inspect.signature(execute).parameters.values()
    all_known = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters}

    @functools.wraps(execute)
    def checked(cls: type[io.ComfyNode], **inputs: Any) -> io.NodeOutput:
        if not all_known:
            inputs = {name: value for name, value in inputs.items() if name in known}
        for declared in cls.define_schema().inputs:
            if declared.id in inputs:
                _check(declared, inputs[declared.id])
        return execute(cls, **inputs)

    return checked


def checked_text(name: str, given: Any) -> str:
    """A text as it is. Raises ValueError, in a sentence, for anything else and for a long one."""
    if not isinstance(given, str):
        raise ValueError(f"'{name}' was {shortened(given)}: give a text.")
    if len(given) > LONGEST_TEXT:
        raise ValueError(f"'{name}' has {len(given):,} characters: give at most {LONGEST_TEXT:,}.")
    if any("\ud800" <= character <= "\udfff" for character in given):
        raise ValueError(f"'{name}' has a character that is only half of one: type it again.")
    return given


def name_fault(given: Any) -> str | None:
    """Say what is wrong with what stands for a schedule's name, in a sentence; None if nothing is.

    given: None for what is linked and not known yet
    """
    try:
        checked_text("schedule", "" if given is None else given)
    except ValueError as error:
        return str(error)
    return None


def shortened(given: Any) -> str:
    """A value as an error shows it.

    >>> print(shortened("5, x"), shortened(float("nan")), shortened([]), shortened("x" * 99)[-4:])
    '5, x' nan a list xx…'
    """
    if isinstance(given, str):
        return repr(given if len(given) <= SHOWN else f"{given[: SHOWN - 1]}…")
    if given is None:
        return "empty"
    if isinstance(given, bool | float) or (isinstance(given, int) and abs(given) < 10**SHOWN):
        return str(given)
    return "a number of many digits" if isinstance(given, int) else f"a {type(given).__name__}"


def _check(declared: io.Input, given: Any) -> None:
    name = declared.id
    if isinstance(declared, io.Int.Input):
        if not isinstance(given, Integral) or not declared.min <= given <= declared.max:
            raise ValueError(
                f"'{name}' was {shortened(given)}: give a whole number from {declared.min} to "
                f"{declared.max}."
            )
    elif isinstance(declared, io.Float.Input):
        low, high = declared.min - SLACK, declared.max + SLACK
        if not isinstance(given, Real) or not low <= given <= high:  # NaN is neither
            raise ValueError(
                f"'{name}' was {shortened(given)}: give a number from {declared.min:g} to "
                f"{declared.max:g}."
            )
    elif isinstance(declared, io.Combo.Input):
        # A schedule's name may be one that is not on this machine.
        if name == "schedule":
            checked_text(name, given)
        elif given not in declared.options:
            options = ", ".join(map(str, declared.options))
            one = f"one of {options}" if len(options) <= LISTED_OPTIONS else "one of the list"
            raise ValueError(f"'{name}' was {shortened(given)}: choose {one}.")
    elif isinstance(declared, io.Boolean.Input):
        if not isinstance(given, bool):
            raise ValueError(f"'{name}' was {shortened(given)}: give true or false.")
    elif isinstance(declared, io.String.Input):
        checked_text(name, given)
