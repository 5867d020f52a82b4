"""What all tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from align_your_steps.tests.host.get_front_end import OWN, FrontEnd
from align_your_steps.tests.host.get_host import NoHostError, find_host
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.host.ways import WAYS, Way
from hypothesis import HealthCheck, settings

# A busy machine is no fault.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

LAUNCH = Path(__file__).with_name("host") / "launch.py"
_answers: dict[tuple[Path, tuple[str, ...]], dict[str, Any] | pytest.fail.Exception] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make torture` runs the tests of faults at full length, `make test` a short version."""
    parser.addoption("--torture", action="store_true", help="faults at full length")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that the tests against a real ComfyUI were left out."""
    if os.environ.get("AYS_NO_HOST") == "1":
        terminalreporter.section("AYS_NO_HOST=1", red=True, bold=True)
        terminalreporter.line("NOTHING WAS TESTED IN A REAL COMFYUI.", red=True, bold=True)


@pytest.fixture(scope="session")
def host_path() -> Path:
    """Folder of the ComfyUI to test with. Without one the tests fail: they are never lost."""
    if os.environ.get("AYS_NO_HOST") == "1":
        pytest.skip("AYS_NO_HOST=1")
    try:
        return find_host()
    except NoHostError as error:
        pytest.fail(str(error), pytrace=False)


class Banner:
    """Says at the end of all tests, in red, that those in a browser were left out."""

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Called by pytest."""
        terminalreporter.section("no browser", red=True, bold=True)
        terminalreporter.line(NO_BROWSER, red=True, bold=True)


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> str:
    """The browser to test with. Without one the tests are skipped, loudly."""
    executable = find_browser()
    if executable is None:
        if not pytestconfig.pluginmanager.has_plugin("no browser"):
            pytestconfig.pluginmanager.register(Banner(), "no browser")
        pytest.skip(NO_BROWSER)
    return executable


@pytest.fixture(scope="session")
def serve(
    host_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[FrontEnd], ComfyServer]]:
    """The server that serves a front end, with our pack and the test pack; one for all tests."""
    with ExitStack() as running:

        @cache
        def shared(front_end: FrontEnd) -> ComfyServer:
            try:
                arguments = ["--cpu", *front_end.arguments()]
            except NoHostError as error:
                pytest.fail(str(error), pytrace=False)
            base = tmp_path_factory.mktemp("comfy")
            return running.enter_context(ComfyServer(host_path, base, arguments=arguments))

        yield shared


@pytest.fixture(scope="session")
def server(serve: Callable[[FrontEnd], ComfyServer]) -> ComfyServer:
    """The server with the host's own front end, shared by all tests."""
    return serve(OWN)


@pytest.fixture(scope="module", params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """A front end and a renderer: every test that asks for it is run in each of them."""
    found: Way = request.param
    return found


@pytest.fixture(scope="module")
def page_server(way: Way, serve: Callable[[FrontEnd], ComfyServer]) -> ComfyServer:
    """The shared server of this way's front end."""
    return serve(way.front_end)


@pytest.fixture
def new_server(
    host_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ComfyServer]]:
    """Start a server of the test's own, with the keyword arguments of `ComfyServer`."""
    with ExitStack() as running:

        def start(**options: Any) -> ComfyServer:
            base = tmp_path_factory.mktemp("comfy")
            return running.enter_context(ComfyServer(host_path, base, **options))

        yield start


@pytest.fixture
def run_in_host(host_path: Path, tmp_path: Path) -> Callable[..., str]:
    """Run a script that imports the host's modules in a process of its own; return its output.

    A script that must run without a GPU sets `comfy.cli_args.args.cpu = True` before it imports
    anything else of the host.
    """

    def run(script: Path, *arguments: str) -> str:
        command = [sys.executable, str(LAUNCH), str(host_path), str(script), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"{script.name} failed in the host:\n{done.stderr[-4000:]}", pytrace=False)
        return done.stdout

    return run


@pytest.fixture
def host_answer(run_in_host: Callable[..., str]) -> Callable[..., dict[str, Any]]:
    """Run a script as `run_in_host` and read the JSON of its last line; an equal call once only.

    The host takes seconds to import: one process makes all runs of a script, and a script that
    fails does so once for all tests.
    """

    def answer(script: Path, *arguments: str) -> dict[str, Any]:
        key = script, arguments
        if key not in _answers:
            try:
                _answers[key] = json.loads(run_in_host(script, *arguments).splitlines()[-1])
            except pytest.fail.Exception as failure:
                _answers[key] = failure
        found = _answers[key]
        if isinstance(found, pytest.fail.Exception):
            raise found
        return found

    return answer


@pytest.fixture
def measured(
    host_answer: Callable[..., dict[str, Any]], request: pytest.FixtureRequest, prediction: str
) -> dict[str, Any]:
    """What the script of the test's module has measured on one kind of model."""
    found: dict[str, Any] = host_answer(request.module.SCRIPT)[prediction]
    return found
