"""The nodes on the host's page: they are found, run at a click, and show what they do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from align_your_steps.tests.host.browser import HostPage, open_page
from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.host.test_nodes import optimize_graph


class Banner:
    """Says at the end of all tests, in red, that these were left out."""

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Called by pytest."""
        terminalreporter.section("no browser", red=True, bold=True)
        terminalreporter.line(NO_BROWSER, red=True, bold=True)


@pytest.fixture(scope="module")
def page(server: ComfyServer, request: pytest.FixtureRequest) -> Iterator[HostPage]:
    """The page of the shared server. Without a browser the tests are skipped, loudly."""
    executable = find_browser()
    if executable is None:
        request.config.pluginmanager.register(Banner())
        pytest.skip(NO_BROWSER)
    with open_page(server, executable) as opened:
        yield opened
    server.get("/ays_test/reset")


def test_search_finds_every_node(page: HostPage) -> None:
    assert {"AYS Scheduler", "Optimize AYS", "Apply AYS Schedule"} <= set(page.search("AYS"))


def test_optimize_shows_its_progress_and_then_a_picture(
    page: HostPage, server: ComfyServer
) -> None:
    # A seed that no other test has: for a saved result there is no progress to be shown.
    page.load(optimize_graph(seed=1234, budget=400), centre="optimize")
    server.get("/ays_test/delay?ms=5")
    prompt_id = page.queue()
    progress = page.text(r"\bleft\b")
    page.screenshot("optimize running")
    status = server.wait(prompt_id)["status"]
    assert status["status_str"] == "success", status["messages"]
    assert page.picture_width("optimize") > 100
    page.screenshot("optimize done")
    assert "400" in progress
