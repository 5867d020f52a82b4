"""The page lets nobody in: what a stranger's file says is text wherever it is shown, what we add
asks nobody but the server, and a page of another site gets nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from align_your_steps.tests.host.browser import open_page
from align_your_steps.tests.host.get_front_end import OWN, FrontEnd
from align_your_steps.tests.host.graphs import model_graph, optimize_graph
from align_your_steps.tests.host.panel import OurPage
from align_your_steps.tests.host.server import REPOSITORY, ComfyServer, HostError
from align_your_steps.tests.host.test_panel import scheduler_graph
from align_your_steps.tests.host.ways import Way
from playwright.sync_api import Page, Route

OURS = "/extensions/align-your-steps/"
ELSEWHERE = "http://evil.example"
LEVELS = [14.0, 6.0, 3.0, 1.0, 0.4, 0.0]
CALLED = "a stranger's"


def evil(place: str) -> str:
    """Markup that tells, if a page takes it for such, where it was shown."""
    return f"""<img src=x onerror="(window.hacked ??= []).push('{place}')"> <b>{place}</b>"""


def text(place: str) -> re.Pattern[str]:
    """Return what a page shows of it that takes it for text."""
    return re.compile(rf"img src=x onerror=.*{place}")


@pytest.fixture(scope="module")
def server(page_server: ComfyServer) -> ComfyServer:
    """The shared server of each front end, without what other tests have saved.

    The newest page draws the first entries of a long drop-down only.
    """
    page_server.forget()
    return page_server


@pytest.fixture(scope="module")
def ours(server: ComfyServer, way: Way, chromium: str) -> Iterator[OurPage]:
    """The page of the shared server with one of the renderers."""
    with open_page(server, chromium, timeout=90.0, vue=way.vue) as page:
        yield OurPage(page)


@pytest.fixture(scope="module")
def hostile(server: ComfyServer) -> Iterator[str]:
    """The name that a file of a stranger shows who has put markup into every text of it."""
    content = {
        "name": evil("name"),
        "sigmas": LEVELS,
        "provenance": {key: evil(key) for key in ("who", "what", "when")},
        "request": {key: evil(key) for key in ("sampler", "method", "identity")},
        "notes": {key: evil(key) for key in ("method", "report", "model", "scheduler")},
    }
    name: str = server.post("/ays/schedules/import?filename=x.json", content)["name"]
    yield name
    server.post("/ays/schedules/delete", {"name": name})


def nothing_ran(ours: OurPage) -> bool:
    """Tell whether the page is as it was made. What it took for markup ran at once."""
    ours.page.evaluate("() => new Promise(requestAnimationFrame)")
    assert ours.page.evaluate("window.hacked ?? []") == []
    # Markup that is blocked from running would be there all the same.
    return ours.page.locator("img[src=x]").count() == 0


def test_markup_would_run_on_this_page(ours: OurPage) -> None:
    # By a name of its own: the page may append elements too.
    ours.page.evaluate("html => { const p = document.createElement('p'); p.id = 'ays-test-markup';"
                       "document.body.append(p); p.innerHTML = html }", evil("here"))  # fmt: skip
    ours.page.wait_for_function("window.hacked?.length === 1")
    ours.page.evaluate("() => { document.getElementById('ays-test-markup').remove();"
                       "delete window.hacked }")  # fmt: skip


def test_a_row_of_the_panel_shows_text(ours: OurPage, hostile: str) -> None:
    ours.host.load(scheduler_graph("auto"), centre="scheduler")
    ours.open_tab()
    row = ours.row(hostile)
    row.get_by_text(text("sampler")).wait_for()
    told = row.locator(".ays-facts").get_attribute("title") or ""
    assert all(evil(key) in told for key in ("who", "what", "when"))
    assert nothing_ran(ours)


def test_messages_show_text(ours: OurPage) -> None:
    broken = json.dumps({"name": evil("error"), "sigmas": [evil("level")]})
    ours.open_tab()
    ours.drop(f"{evil('file').replace('/', '')}.json", broken)
    ours.toast("is not a schedule")
    assert nothing_ran(ours)


def test_dialogs_show_text(ours: OurPage, hostile: str) -> None:
    ours.open_tab()
    ours.act(hostile, "rename")
    box = ours.page.get_by_role("dialog").locator("input")
    box.wait_for()
    assert box.input_value() == hostile
    box.press("Escape")
    box.wait_for(state="detached")
    ours.act(hostile, "delete")
    ours.page.get_by_role("dialog").get_by_text(text("name")).first.wait_for()
    assert nothing_ran(ours)
    ours.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    ours.page.get_by_role("dialog").wait_for(state="detached")


def test_the_drop_down_of_a_node_shows_text(ours: OurPage, hostile: str) -> None:
    ours.host.load(scheduler_graph("auto"), centre="scheduler")
    ours.host.nodes.choose("scheduler", "schedule", hostile)
    assert ours.node("scheduler", "n.widgets[0].value") == hostile
    assert nothing_ran(ours)


def test_the_line_under_a_node_shows_text(ours: OurPage, server: ComfyServer, hostile: str) -> None:
    ours.host.load(scheduler_graph(hostile), centre="scheduler")
    server.wait(ours.queue()[0])
    ours.host.nodes.text("scheduler", "img src=x onerror").wait_for()
    assert nothing_ran(ours)


def test_levels_and_errors_of_a_strangers_workflow_are_shown_as_text(
    ours: OurPage, server: ComfyServer
) -> None:
    graph = scheduler_graph(evil("chosen"))
    ours.host.load(graph, centre="scheduler")
    carried = {"name": evil("carried"), "levels": LEVELS, "digest": evil("digest")}
    ours.page.evaluate(
        "carried => { app.graph.getNodeById('scheduler').properties.ays_schedule = carried }",
        carried,
    )
    server.wait(ours.queue()[0])
    assert nothing_ran(ours)
    compare = {**optimize_graph()["optimize"]["inputs"], "schedules": evil("compared"), "noises": 1}
    for name in ("budget", "minutes", "method", "reuse", "name"):
        del compare[name]
    failing = model_graph("eps")
    failing["compare"] = {"class_type": "AYSCompare", "inputs": compare}
    ours.host.load(failing, centre="compare")
    with pytest.raises(HostError, match="There is no schedule"):
        ours.queue()
    # Newer pages show less of it, and that behind a button.
    sentence = ours.page.get_by_text("There is no schedule").first
    details = ours.page.get_by_test_id("error-overlay-see-errors")
    sentence.or_(details).first.wait_for()
    if not sentence.is_visible():
        details.click()
        details.wait_for(state="detached")
    assert nothing_ran(ours)
    ours.host.close_error()


# -- what is asked of whom ----------------------------------------------------------------------


class Requests:
    """Whom the page asks, and by whose code."""

    def __init__(self, page: Page, server: ComfyServer) -> None:
        self.here = urlsplit(server._url).netloc
        self.by_us: list[str] = []
        self.asked: list[str] = []
        self.unmarked: list[str] = []  # for our routes, without the header that tells our page
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Debugger.enable")  # else what follows a promise has no history
        session.send("Debugger.setAsyncCallStackDepth", {"maxDepth": 32})
        session.on("Network.requestWillBeSent", self._note)
        self.session = session

    def _note(self, event: dict[str, Any]) -> None:
        url = event["request"]["url"]
        self.asked.append(url)
        if OURS in json.dumps(event["initiator"]) or OURS in event.get("documentURL", ""):
            self.by_us.append(url)
        sent = [header.lower() for header in event["request"]["headers"]]
        if "/api/ays/" in url and "x-ays-page" not in sent:
            self.unmarked.append(f"{url} {sent}")

    def elsewhere(self, urls: list[str]) -> list[str]:
        """Those of another origin. Data and blobs are in the page already."""
        found = [urlsplit(url) for url in urls]
        return [
            url.geturl()
            for url in found
            if url.scheme not in ("data", "blob") and url.netloc != self.here
        ]


def test_the_panel_the_help_and_the_nodes_ask_the_server_only(
    ours: OurPage, server: ComfyServer, tmp_path: Path
) -> None:
    noted = Requests(ours.page, server)
    try:
        ours.host.reload()
        graph = optimize_graph(budget=200, name=CALLED, seed=41 + ours.vue)
        ours.host.load(graph, centre="optimize")
        ours.open_tab()
        server.wait(ours.queue()[0])
        ours.row(CALLED).wait_for()
        ours.act(CALLED, "copy", "diffusers")
        assert ours.exported(CALLED, "json")
        file = tmp_path / f"again {ours.vue}.json"
        file.write_text(json.dumps({"sigmas": [8.0625 + ours.vue, 1.0, 0.0]}), encoding="utf-8")
        ours.choose_files(file)
        ours.rename(f"again {ours.vue}", "again 2")
        ours.row("again 2").wait_for()
        for name in ("again 2", CALLED):
            ours.delete(name, "Delete")
            ours.row(name).wait_for(state="detached")
        ours.host.new_workflow()
        node = ours.host.add("Optimize AYS", 1100, 300)
        # The page asks its own maker what pack the nodes of a loaded graph come from; not for help.
        before = len(noted.asked)
        ours.host.help(node).locator("img").first.wait_for()
    finally:
        noted.session.detach()
    assert any("/ays/schedules/import" in url for url in noted.by_us), "it notes nothing"
    assert noted.elsewhere(noted.by_us) == []
    assert noted.unmarked == []
    assert any("/docs/" in url for url in noted.asked[before:]), "no help was asked for"
    assert noted.elsewhere(noted.asked[before:]) == []


def test_a_page_of_another_site_gets_nothing_and_changes_nothing(
    serve: Callable[[FrontEnd], ComfyServer], chromium: str
) -> None:
    server = serve(OWN)  # no front end has a part in it
    content = {"name": CALLED, "sigmas": LEVELS}
    name = server.post("/ays/schedules/import?filename=x.json", content)["name"]
    before = server.get("/ays/schedules")
    question = json.dumps({"name": name, "new_name": "evil"})
    ways = [
        f"{kind} src='{server._url}/ays/schedules{rest}' onload=\"got.push('{kind}{rest}')\" "
        f'onerror="done++"></{kind}>'
        for kind in ("script", "img", "iframe")
        for rest in ("", f"/export?name={name}", f"/text?name={name}")
    ]
    html = f"""<script>got = []; done = 0; asked = []</script>
      {"".join(f"<{way}" for way in ways if not way.startswith("iframe"))}
      <script>
        for (const [path, method] of [["", "GET"], ["/delete", "POST"], ["/rename", "POST"],
                                      ["/import?filename=x", "POST"]])
          for (const [mode, headers] of [["cors", {{}}], ["no-cors", {{}}],
                                         ["cors", {{ "X-AYS-Page": "1" }}],
                                         ["no-cors", {{ "X-AYS-Page": "1" }}]])
            asked.push(fetch("{server._url}/ays/schedules" + path,
              {{ method, mode, headers,
                 body: method === "POST" ? {json.dumps(question)} : undefined }})
              .then(answer => answer.text()).then(text => text && got.push(path + text))
              .catch(() => 0));
      </script>"""

    def answer(route: Route) -> None:
        route.fulfill(body=html, content_type="text/html")

    with open_page(server, chromium) as opened:
        page = opened.page.context.new_page()
        page.route(f"{ELSEWHERE}/**", answer)
        page.goto(f"{ELSEWHERE}/")
        page.wait_for_function("done === 6")
        page.evaluate("() => Promise.all(asked)")
        assert page.evaluate("location.origin") == ELSEWHERE
        assert page.evaluate("got") == []
    assert server.get("/ays/schedules") == before
    server.post("/ays/schedules/delete", {"name": name})


# -- the files that the page loads --------------------------------------------------------------

WEB = sorted((REPOSITORY / "web").rglob("*"))
SCRIPTS = [path for path in WEB if path.suffix in (".js", ".css")]
PICTURES = sorted((REPOSITORY / "media").glob("*.svg"))
HELP = [path for path in WEB if path.suffix == ".md"]
TAKEN_FOR_MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser"
TAKEN_FOR_CODE = r"\beval\b|new Function|javascript:|(?<!\.)import\((?!\")"


@pytest.mark.parametrize("path", SCRIPTS + PICTURES, ids=lambda path: path.name)
def test_files_of_the_page_load_nothing_from_elsewhere(path: Path) -> None:
    source = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"\b(https?|wss?|ftp):|[\"'(]//\w", source)
    assert not re.search(rf"{TAKEN_FOR_MARKUP}|{TAKEN_FOR_CODE}", source)
    if path.suffix == ".svg":
        assert not re.search(r"<script|<image|<foreignObject|href|@import|\bon\w+=", source)


@pytest.mark.parametrize("path", HELP, ids=lambda path: path.name)
def test_help_shows_pictures_of_its_own(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", source) + re.findall(r"src=\"([^\"]+)", source)
    assert all((path.parent / picture).is_file() for picture in shown), shown
