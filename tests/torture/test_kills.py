"""kill -9 in the middle of a change: every file is the old one or the new one."""

from __future__ import annotations

import ast
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from align_your_steps.schedules.store import folder_lock as locked
from align_your_steps.tests.torture.changing import (
    CHANGES,
    SOURCES,
    WRITING,
    Child,
    State,
    change,
    change_half,
    change_with_rest,
    filled,
    is_between,
    leftovers,
    levels,
    result,
    save_on,
    state_of,
    store_of,
    unfinished_of,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A folder that every trial begins with a copy of."""
    return filled(tmp_path / "template")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here whoever finds a lock taken by a dead process fails at once."""
    monkeypatch.setattr(locked, "PATIENCE", 0.0)


def test_every_place_at_which_a_process_is_killed_is_there() -> None:
    files = [Path(locked.__file__).with_name(name) for name in SOURCES]
    bodies = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    assert {node.name for node in bodies if isinstance(node, ast.FunctionDef)} >= WRITING


def copied(template: Path) -> Path:
    """A fresh copy, in place of the last one."""
    base = template.with_name("base")
    shutil.rmtree(base, ignore_errors=True)
    return Path(shutil.copytree(template, base))


def changed(name: str, template: Path) -> State:
    """The state that a change leads to."""
    base = copied(template)
    CHANGES[name](base)
    return state_of(base)


def problem(base: Path, done: bool, before: State, after: State) -> str | None:
    """Return what is wrong in a folder in which someone was killed."""
    try:
        state = state_of(base)
    except ValueError as error:
        return str(error)
    if done and state != after:
        return "what was reported as done is not"
    if not is_between(state, before, after):
        return "a file is neither the old one nor the new one"
    store, unfinished = store_of(base), unfinished_of(base)
    store.save(result("next", 99))
    store.delete("next")
    unfinished.put("00001", unfinished.get("00001") or {})
    if state_of(base) != state:
        return "the next writer has changed something else"
    return f"there is left over {leftovers(base)}" if leftovers(base) else None


@pytest.mark.parametrize(
    ("target", "step", "where"),
    [
        (change, 29, "before every line of saving, renaming, deleting, adding"),
        (change_half, 1, "when half of a file is written"),
    ],
    ids=["line", "half"],
)
def test_killed_at_every_place(
    target: Callable[..., None],
    step: int,
    where: str,
    template: Path,
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, trials, problems = state_of(template), 0, []
    for name in CHANGES:
        after = changed(name, template)
        assert after != before
        for place in range(1, 10_000, at_length(step, 1)):
            base = copied(template)
            child = Child(target, name, base, place)
            child.go()
            done = "done" in child.said()
            trials += not done
            if wrong := problem(base, done, before, after):
                problems.append(f"{name}, killed at place {place}: {wrong}")
            if done:
                break
    problems += [record.getMessage() for record in caplog.records]
    fault(
        f"kill -9 {where}",
        trials=trials,
        survived=trials - len(problems),
        remark="; ".join(problems) or f"{len(CHANGES)} kinds of change",
    )


def test_killed_at_a_random_moment(
    template: Path,
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, trials, within, problems = state_of(template), at_length(2, 30), 0, []
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    for name in CHANGES:
        after = changed(name, template)
        takes = duration(name, template)
        for _ in range(trials):
            base = copied(template)
            moment = moments.uniform(0.0, takes)
            done = "done" in Child(change, name, base).kill_after(moment)
            within += not done
            if wrong := problem(base, done, before, after):
                problems.append(f"{name}, killed after {moment:.4f} of {takes:.4f} s: {wrong}")
    problems += [record.getMessage() for record in caplog.records]
    fault(
        "kill -9 at a random moment of saving, renaming, deleting, adding",
        trials=trials * len(CHANGES),
        survived=trials * len(CHANGES) - len(problems),
        remark="; ".join([f"seed {seed}, {within} before the end of the change", *problems]),
    )


def duration(name: str, template: Path) -> float:
    """Return what a change takes in a child, in s."""
    seconds = []
    for _ in range(3):
        child = Child(change, name, copied(template))
        began = time.perf_counter()
        child.go()
        assert child.connection.recv() == "done"
        seconds.append(time.perf_counter() - began)
        child.said()
    return statistics.median(seconds)


def test_what_was_reported_as_saved_is_there(
    tmp_path: Path,
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    trials, base, problems = at_length(3, 60), tmp_path / "base", []
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    store, reported, lost = store_of(base), 0, 0
    for trial in range(trials):
        shutil.rmtree(base, ignore_errors=True)
        said = Child(save_on, base, trial).kill_after(moments.uniform(0.0, 0.3))
        reported += len(said)
        there = {name: entry.saved.schedule.levels for name, entry in store.list().items()}
        expected = {str(number): levels(number) for number in said}
        lost += len(expected.items() - there.items())
        if not len(said) <= len(there) <= len(said) + 1:
            problems.append(f"trial {trial}: {len(said)} were saved, and {len(there)} are there")
    problems += [record.getMessage() for record in caplog.records]
    fault(
        "kill -9 of one that saves without end",
        trials=trials,
        survived=trials - len(problems),
        lost=lost,
        remark="; ".join([f"seed {seed}, {reported} reported as saved", *problems]),
    )
    assert reported > trials


@pytest.mark.parametrize("name", ["rename three copies", "delete three copies"])
def test_one_that_hangs_and_goes_on_later_takes_nothing_back(
    name: str,
    template: Path,
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Someone saves, in the middle of a change, what is changed: without the lock, if need be.

    What was saved before the other one looked for what it deletes may be deleted, no later one.
    """
    trials, waited, looked, lost = 0, 0, False, []
    new = result("mine", 0, first=30.0)
    for line in range(1, 10_000, at_length(23, 3)):
        base = copied(template)
        child = Child(change_with_rest, name, base, line)
        child.go()
        if child.connection.recv() == "done":
            child.said()
            break
        caplog.clear()
        store_of(base).save(new)
        in_turn = not caplog.records
        child.go()
        child.said()
        trials, waited = trials + 1, waited + (not in_turn)
        found = store_of(base).find(new.request)
        is_new = found is not None and found.schedule.levels == new.schedule.levels
        looked = looked or (is_new and not in_turn)
        deleted = found is None and name.startswith("delete") and (in_turn or not looked)
        if not is_new and not deleted:
            lost.append(f"at line {line}")
    fault(
        f"hangs while it is to {name}, another saves, and it goes on",
        trials=trials,
        survived=trials - len(lost),
        lost=len(lost),
        remark="; ".join([f"{waited} times in possession of a lock", *lost]),
    )
    assert looked
