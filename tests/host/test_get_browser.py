"""Where the tests take their browser from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from align_your_steps.tests.host import get_browser
from align_your_steps.tests.host.get_browser import find_browser, install_browser

Make = Callable[..., str]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine without any browser, whose playwright would keep its own in `tmp_path/own`."""
    monkeypatch.delenv("AYS_CHROMIUM", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(get_browser, "_of_playwright", lambda: str(tmp_path / "own"))
    find_browser.cache_clear()
    yield
    find_browser.cache_clear()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a program that ends with an exit status and return its path."""

    def write(name: str, status: int = 0) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\nexit {status}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands by which a browser would be installed; every one of them fails."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> bool:
        commands.append(command)
        return False

    monkeypatch.setattr(get_browser, "_run", run)
    return commands


def test_given_path_comes_before_all(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("bin/chromium")
    mine = make("mine")
    monkeypatch.setenv("AYS_CHROMIUM", mine)
    assert find_browser() == mine


def test_wrong_path_is_not_replaced_by_another_browser(
    make: Make, monkeypatch: pytest.MonkeyPatch, steps: list[list[str]]
) -> None:
    make("bin/chromium")
    monkeypatch.setenv("AYS_CHROMIUM", "/nothing/here")
    assert find_browser() is None
    assert install_browser() is None
    assert steps == []


def test_path_comes_before_the_download_of_playwright(make: Make) -> None:
    own, chrome = make("own"), make("bin/google-chrome")
    assert find_browser() == chrome
    Path(chrome).unlink()
    find_browser.cache_clear()
    assert find_browser() == own


def test_a_browser_that_does_not_start_is_passed_over(make: Make) -> None:
    make("bin/chromium", status=127)  # a library is missing
    make("bin/chromium-browser", status=1)  # only tells to install something else
    assert find_browser() is None
    find_browser.cache_clear()
    chrome = make("bin/google-chrome")
    assert find_browser() == chrome


def test_nothing_is_installed_where_a_browser_is(make: Make, steps: list[list[str]]) -> None:
    chromium = make("bin/chromium")
    assert install_browser() == chromium
    assert steps == []


def test_download_then_package_then_none(
    make: Make, monkeypatch: pytest.MonkeyPatch, steps: list[list[str]]
) -> None:
    make("bin/apt-get")
    monkeypatch.setattr(get_browser.os, "geteuid", lambda: 0)
    assert install_browser() is None
    download, update = steps
    assert download[1:4] == ["-m", "playwright", "install"]
    assert update[0] == "apt-get"


def test_a_download_that_worked_is_the_last_step(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = []

    def run(command: list[str]) -> bool:
        commands.append(command)
        make("own")  # what a good download leaves behind
        return True

    monkeypatch.setattr(get_browser, "_run", run)
    make("bin/apt-get")
    assert install_browser() == str(tmp_path / "own")
    assert len(commands) == 1


def test_only_root_installs_packages(
    make: Make, monkeypatch: pytest.MonkeyPatch, steps: list[list[str]]
) -> None:
    make("bin/apt-get")
    monkeypatch.setattr(get_browser.os, "geteuid", lambda: 1000)
    assert install_browser() is None
    assert all(command[0] != "apt-get" for command in steps)


def test_a_step_that_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(get_browser, "DOWNLOAD_WITHIN", 0.01)
    assert not get_browser._run([sys.executable, "-c", "import time; time.sleep(60)"])
    assert "not done within" in capfd.readouterr().err
