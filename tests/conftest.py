"""Fixtures and options that all tests share."""

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
from align_your_steps.tests.tables import markdown_table, recorded
from hypothesis import HealthCheck, settings

# A busy machine is no fault.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

HERE = Path(__file__).resolve().parent
# Where two files run at a time, these come first, or one of them would run alone in the end.
LONGEST = (
    "host/test_browser.py",
    "host/test_said.py",
    "host/test_panel.py",
    "host/test_page_closed.py",
    "host/test_samplers.py",
    "host/test_examples.py",
    "host/test_guidance.py",
    "host/test_model_types.py",
    "host/test_references.py",
    "host/test_distribution.py",
    "host/test_cancel.py",
    "host/test_nodes.py",
    "host/test_locales.py",
    "optimizer/test_optimize.py",
    "host/test_families.py",
    "benchmarks/test_gpu.py",
    "host/test_carried.py",
    "benchmarks/test_evidence.py",
    "host/test_graphs.py",
    "torture/test_long_run.py",
    "torture/test_failing_models.py",
    "torture/test_two_at_once.py",
    "torture/test_kills.py",
)
LAUNCH = Path(__file__).with_name("host") / "launch.py"
_answers: dict[tuple[Path, tuple[str, ...]], dict[str, Any] | pytest.fail.Exception] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make torture` runs the tests of faults at full length, `make test` a short version."""
    parser.addoption("--torture", action="store_true", help="faults at full length")


# Before pytest's own, which leaves out what is marked.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; leave the older pages to `test-full`, mostly."""
    for item in items:
        if _is_further_row_on_an_older_page(item):
            item.add_marker(pytest.mark.full)
    places = {HERE / file: place for place, file in enumerate(LONGEST)}
    missing = [str(path) for path in places if not path.is_file()]
    assert not missing, f"LONGEST names what is not there: {missing}"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def _is_further_row_on_an_older_page(item: pytest.Item) -> bool:
    """Tell whether the same test runs on the newest page with this row, and on this with another.

    Both renderers of the newest front end are tested with every row; of an older one the classic
    with one: its Nodes 2.0 was an experiment then.
    """
    call = getattr(item, "callspec", None)
    page = call and call.params.get("way")
    if not isinstance(page, Way) or page.front_end is WAYS[-1].front_end:
        return False
    return page.vue or any(row > 0 for name, row in call.indices.items() if name != "way")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that tests against a real ComfyUI, or in a browser, were left out."""
    if os.environ.get("AYS_NO_HOST") == "1":
        terminalreporter.section("AYS_NO_HOST=1", red=True, bold=True)
        terminalreporter.line("NOTHING WAS TESTED IN A REAL COMFYUI.", red=True, bold=True)
    # Of the reports, for the tests themselves may have run in other processes.
    if any(NO_BROWSER in report.longreprtext for report in terminalreporter.getreports("skipped")):
        terminalreporter.section("no browser", red=True, bold=True)
        terminalreporter.line(NO_BROWSER, red=True, bold=True)
    _tables(terminalreporter)


def _tables(terminalreporter: pytest.TerminalReporter) -> None:
    """A row for every graph that was executed, and for every fault that was tried.

    Here, since of tests that run in other processes pytest reads no other file than this.
    """
    for name, title in (("executed graph", "Executed graphs"), ("fault", "Faults")):
        rows = recorded(terminalreporter, name)
        if name == "fault":
            for row in rows:
                del row["result"]  # of a whole test, which may have several rows
        if rows:
            terminalreporter.section(title)
            for line in markdown_table(rows):
                terminalreporter.line(line)


@pytest.fixture(scope="session")
def host_path() -> Path:
    """Folder of the ComfyUI to test with. Without one the tests fail: they are never lost."""
    if os.environ.get("AYS_NO_HOST") == "1":
        pytest.skip("AYS_NO_HOST=1")
    try:
        return find_host()
    except NoHostError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser to test with. Without one the tests are skipped, loudly."""
    executable = find_browser()
    if executable is None:
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


@pytest.fixture(scope="session")
def second_server(
    host_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    """Another server, for tests that save on one and look on the other, or need an empty one."""
    with ComfyServer(host_path, tmp_path_factory.mktemp("second")) as second:
        yield second


@pytest.fixture
def empty_server(second_server: ComfyServer) -> ComfyServer:
    """The second server as if it had just been started; a test may restart it."""
    second_server.forget()
    return second_server


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
    """Return what the script of the test's module has measured on one kind of model."""
    found: dict[str, Any] = host_answer(request.module.SCRIPT)[prediction]
    return found
