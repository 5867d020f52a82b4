"""The front ends that are tested, and the table of what some of them cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from align_your_steps.tests.host import ways
from align_your_steps.tests.host.browser import open_page
from align_your_steps.tests.host.get_front_end import NEWEST
from align_your_steps.tests.host.server import REPOSITORY, ComfyServer
from align_your_steps.tests.host.ways import TABLE, WAYS, Way, can, lacks


def test_a_front_end_is_the_one_that_it_is_called(
    page_server: ComfyServer, way: Way, chromium: str
) -> None:
    with open_page(page_server, chromium, vue=way.vue) as page:
        assert page.version == way.front_end.version
        vue = page.page.evaluate("() => LiteGraph.vueNodesMode")
        assert vue == way.vue


def test_both_renderers_of_the_newest_front_end_are_among_the_ways() -> None:
    names = [str(way) for way in WAYS]
    assert len(names) == len(set(names))
    assert {f"{NEWEST}-canvas", f"{NEWEST}-vue"} <= set(names)


@pytest.mark.parametrize(
    "version, vue, expected",
    [("1.32.9", True, False), ("1.32.9", False, True), ("1.39.99", True, False),
     ("1.40.0", True, True), ("1.58.1", True, True)],
)  # fmt: skip
def test_the_table_is_read_by_version_and_renderer(
    version: str, vue: bool, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.md"
    row = "| text under a node | Nodes 2.0 | | 1.39 | read it in the log |"
    table.write_text("\n".join([ways.COLUMNS, "|---|---|---|---|---|", row]), encoding="utf-8")
    monkeypatch.setattr(ways, "TABLE", table)
    lacks.cache_clear()
    try:
        assert can("text under a node", version, vue) is expected
    finally:
        lacks.cache_clear()


def test_what_the_table_does_not_name_is_an_error() -> None:
    with pytest.raises(LookupError, match="no row 'telepathy'"):
        can("telepathy", "1.58.1", False)


def test_every_row_is_asked_for_by_a_test() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        if path.name != "test_ways.py"
    )
    assert lacks(), TABLE
    for what in lacks():
        assert f'can("{what}")' in sources or f'needs("{what}")' in sources, what
