"""Saved schedules over HTTP, in a real server: the drop-downs follow at once."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from align_your_steps.schedules import Provenance, SavedSchedule, Schedule
from align_your_steps.schedules.store.json_file import from_json, to_json_bytes
from align_your_steps.schedules.store.saved_schedule import read_saved, to_bytes
from align_your_steps.tests.host.graphs import scheduler_graph
from align_your_steps.tests.host.seen import saved_files, shown
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.schedules.made import with_samplers

LEVELS = (14.614641189575195, 3.0, 1.0, 0.25, 0.0)


def result(name: str, **request: Any) -> SavedSchedule:
    provenance = Provenance("me", "a toy", "2026-08-01")
    known = {"identity": "a model", "sampler": "euler", "cfg": 3.5, "denoise": 1.0, **request}
    notes = {"method": "by hand", "error": 0.25, "flow": False, "model": "dreamshaper_8"}
    others = ((14.614641189575195, 1.0, 0.0),)
    return SavedSchedule(Schedule(LEVELS, name, provenance, others), "a model", known, {}, notes)


class Answer:
    """Answer of the server to a request, errors included."""

    def __init__(
        self,
        server: ComfyServer,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> None:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{server._url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(url, data=data, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.status, self.headers = answer.status, answer.headers
                self.data = answer.read()
        except urllib.error.HTTPError as error:
            self.status, self.headers, self.data = error.code, error.headers, error.read()

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def add(server: ComfyServer, saved: SavedSchedule) -> str:
    answer = Answer(server, "/ays/schedules/import", to_json_bytes(saved), filename="sent.json")
    assert answer.status == 200, answer.data
    assert answer.json["new"]
    name: str = answer.json["name"]
    return name


def listed(server: ComfyServer) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in server.get("/ays/schedules")["schedules"]}


@pytest.fixture
def name(server: ComfyServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """A schedule of the test's own."""
    saved = result(f"shared in {request.node.name}"[:90], test=request.node.name)
    yield add(server, saved)
    for path in saved_files(server):
        if saved.digest[:12] in path.name:
            path.unlink()


def test_the_drop_downs_follow_at_once(server: ComfyServer, name: str) -> None:
    assert name in server.choices("AYSApply", "schedule")
    answer = Answer(server, "/ays/schedules/rename", {"name": name, "new_name": "better é 語"})
    assert (answer.status, answer.json) == (200, {"name": "better é 語"})
    choices = server.choices("AYSScheduler", "schedule")
    assert "better é 語" in choices and name not in choices
    answer = Answer(server, "/api/ays/schedules/delete", {"name": "better é 語"})
    assert (answer.status, answer.json) == (200, {})
    assert "better é 語" not in server.choices("AYSApply", "schedule")


def test_an_imported_schedule_is_used_under_its_name(server: ComfyServer, name: str) -> None:
    assert shown(server.run(scheduler_graph(schedule=name, steps=4))) == pytest.approx(LEVELS)


def test_the_list_says_what_is_known(server: ComfyServer, name: str) -> None:
    entry = listed(server)[name]
    folder = saved_files(server)[0].parent
    assert server.get("/api/ays/schedules")["folder"] == str(folder) == entry.pop("folder")
    assert (folder / entry.pop("file")).is_file()
    assert len(entry.pop("digest")) == 32
    assert entry == {
        "name": name,
        "steps": 4,
        "other_steps": [2],
        "calibrated": [],
        "sigmas": pytest.approx(LEVELS),
        "model": "dreamshaper_8",
        "sampler": "euler",
        "cfg": 3.5,
        "denoise": 1.0,
        "method": "by hand",
        "error": 0.25,
        "who": "me",
        "what": "a toy",
        "when": "2026-08-01",
        "writable": True,
    }


def test_a_file_dropped_into_the_folder_is_listed_whatever_it_says(
    server: ComfyServer, name: str
) -> None:
    path = saved_files(server)[0].parent / "dropped by hand.json"
    notes = {"error": "x", "model": ["x"]}
    odd = {"request": {"cfg": True, "sampler": 5, "denoise": 10**400}, "notes": notes}
    path.write_text(json.dumps({"sigmas": [14.6, 1], **odd}), encoding="utf-8")
    try:
        entry = listed(server)["dropped by hand"]
        assert "dropped by hand" in server.choices("AYSApply", "schedule")
        assert entry["sigmas"] == pytest.approx([14.6, 1.0, 0.0])
        unknown = {"model", "sampler", "cfg", "denoise", "method", "error"}
        assert {key for key, value in entry.items() if value is None} == unknown
    finally:
        path.unlink()


def test_what_is_exported_is_imported_elsewhere(
    server: ComfyServer, name: str, tmp_path: Path
) -> None:
    as_json = Answer(server, "/ays/schedules/export", name=name)
    assert from_json(as_json.data, "x").schedule == result(name).schedule
    tensors = Answer(server, "/ays/schedules/export", name=name, format="safetensors")
    (tmp_path / "x.safetensors").write_bytes(tensors.data)
    saved = read_saved(tmp_path / "x.safetensors", with_tensors=True)
    assert saved.schedule == result(name).schedule
    for answer, suffix in ((as_json, "json"), (tensors, "safetensors")):
        disposition = answer.headers["Content-Disposition"]
        assert disposition.startswith('attachment; filename="shared-in-')
        assert disposition.endswith(f'.{suffix}"')
        again = Answer(server, "/ays/schedules/import", answer.data, filename="again")
        assert again.json == {"name": name, "new": False}, "it is there already"


def test_names_do_not_get_into_headers_or_paths(server: ComfyServer) -> None:
    hostile = '..\\..\\x"; a=b\r\nSet-Cookie: c=d'
    shows = add(server, result(hostile, test="headers"))
    answer = Answer(server, "/ays/schedules/export", name=shows)
    assert answer.headers["Content-Disposition"] == (
        'attachment; filename="x-a-b-Set-Cookie-c-d.json"'
    )
    assert answer.headers["Set-Cookie"] is None
    (path,) = [path for path in saved_files(server) if path.name.startswith("x-a-b")]
    assert Answer(server, "/ays/schedules/delete", {"name": shows}).status == 200
    assert not path.exists()


@pytest.mark.parametrize("tool", ["comfyui", "diffusers", "a1111"])
def test_text_of_a_calibrated_result_is_its_plain_schedule(server: ComfyServer, tool: str) -> None:
    saved = with_samplers()
    name = add(server, saved)
    try:
        answer = Answer(server, "/ays/schedules/text", name=name, **{"for": tool}).json
        assert "14.6, 4.0, 1.2, 0.4, 0.029" in answer["text"]
        assert "runs only in ComfyUI with this pack" in answer["hint"]
        assert listed(server)[name]["calibrated"] == [3, 5]
        assert Answer(server, "/ays/schedules/export", name=name).json["version"] == 2
    finally:
        Answer(server, "/ays/schedules/delete", {"name": name})


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("comfyui", "14.614641, 3.0, 1.0, 0.25, 0.0"),
        ("diffusers", "sigmas=[14.614641, 3.0, 1.0, 0.25, 0.0]"),
        ("a1111", "[14.614641, 3.0, 1.0, 0.25]"),
    ],
)
def test_levels_as_text(server: ComfyServer, name: str, tool: str, words: str) -> None:
    answer = Answer(server, "/ays/schedules/text", name=name, **{"for": tool})
    assert words in answer.json["text"]
    assert answer.json["hint"]


def test_the_text_for_comfyui_is_what_its_own_node_reads(server: ComfyServer, name: str) -> None:
    if not server.object_info("ManualSigmas"):
        pytest.skip("this host has no ManualSigmas")
    text = Answer(server, "/ays/schedules/text", name=name, **{"for": "comfyui"}).json["text"]
    graph = scheduler_graph()
    graph["scheduler"] = {"class_type": "ManualSigmas", "inputs": {"sigmas": text}}
    assert shown(server.run(graph)) == pytest.approx(LEVELS, rel=1e-7)


RENAME, DELETE, IMPORT = (f"/ays/schedules/{verb}" for verb in ("rename", "delete", "import"))


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (RENAME, {"name": "nothing", "new_name": "x"}, 404, "no schedule 'nothing'"),
        (RENAME, {"name": "NAME", "new_name": ""}, 400, "1 to 100"),
        (RENAME, {"name": "NAME", "new_name": "auto"}, 409, "another meaning"),
        (RENAME, {"name": "NAME", "new_name": "karras"}, 409, "another meaning"),
        (RENAME, {"name": "NAME", "new_name": "AYS_Model"}, 409, "another meaning"),
        (RENAME, {"name": "NAME", "new_name": 5}, 400, "must be JSON"),
        (RENAME, {"name": "NAME"}, 400, "new_name"),
        (RENAME, {"name": "SDXL", "new_name": "x"}, 400, "built in"),
        (RENAME, [], 400, "must be JSON"),
        (RENAME, b"{", 400, "must be JSON"),
        (RENAME, b"\xff", 400, "must be JSON"),
        (RENAME, b"[" * 60_000, 400, "must be JSON"),
        (RENAME, b" " * 65_537, 400, "too large"),
        (DELETE, {"name": "../../x"}, 404, "no schedule"),
        (DELETE, {"name": "auto"}, 400, "built in"),
        (DELETE, None, 404, ""),  # a GET
        (IMPORT, b"not a schedule", 400, "'x.json' is not a schedule"),
        (IMPORT, b"", 400, "is not a schedule"),
        (IMPORT, to_bytes(result("x"))[:-3], 400, "is not a schedule"),
        (IMPORT, b"x" * (64 * 2**20 + 1), 400, "too large"),
    ],
    ids=lambda value: f"{value!r}"[:40],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    server: ComfyServer, name: str, path: str, body: Any, status: int, words: str
) -> None:
    before = [(file, file.read_bytes()) for file in saved_files(server)]
    if isinstance(body, dict) and body.get("name") == "NAME":
        body = {**body, "name": name}
    answer = Answer(server, path, body, filename="x.json")
    assert answer.status == status
    if words:
        assert words in answer.json["error"]
    assert [(file, file.read_bytes()) for file in saved_files(server)] == before


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("export", {"name": "nothing"}, 404),
        ("export", {}, 404),
        ("export", {"name": "SDXL"}, 404),
        ("export", {"name": "NAME", "format": "pickle"}, 400),
        ("text", {"name": "nothing", "for": "comfyui"}, 404),
        ("text", {"name": "NAME", "for": "paint"}, 400),
    ],
)
def test_what_cannot_be_shown_is_said_too(
    server: ComfyServer, name: str, path: str, query: dict[str, str], status: int
) -> None:
    if query.get("name") == "NAME":
        query = {**query, "name": name}
    answer = Answer(server, f"/ays/schedules/{path}", **query)
    assert answer.status == status
    assert answer.json["error"]


def test_a_name_that_another_has_is_refused(server: ComfyServer, name: str) -> None:
    other = add(server, result("another in sharing", test="taken"))
    answer = Answer(server, RENAME, {"name": other, "new_name": name})
    assert answer.status == 409
    assert f"already a schedule called '{name}'" in answer.json["error"]
    assert Answer(server, DELETE, {"name": other}).status == 200


OURS = {"X-AYS-Page": "1"}
# What browsers send for pages of other sites, beside the Host that a proxy makes of it. They say
# Sec-Fetch-Site on https and on this machine only; a form or a simple request can add no header.
FOREIGN_PAGES = {
    "a script, by https": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "a form, by http": {
        "Origin": "https://evil.example",
        "Content-Type": "application/x-www-form-urlencoded",
    },
    "a form of plain text": {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    "another port": {"Origin": "http://192.168.7.7:9999"},
    "another port, by https": {"Origin": "https://a.example:1", "Sec-Fetch-Site": "same-site"},
    "a sister site": {"Origin": "https://b.example", "Sec-Fetch-Site": "same-site"},
    "sandboxed": {"Origin": "null"},
    "sandboxed, with our header": {"Origin": "null", **OURS},
    "a file, by https": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "the proxy's own name": {"Origin": "https://proxy.lan", "Host": "proxy.lan"},
    "our header, by https": {"Sec-Fetch-Site": "cross-site", **OURS},
}


@pytest.mark.parametrize("path", [RENAME, DELETE, IMPORT, "/ays/finish", f"/api{DELETE}"])
@pytest.mark.parametrize("page", FOREIGN_PAGES)
def test_pages_of_other_sites_change_nothing(
    server: ComfyServer, name: str, path: str, page: str
) -> None:
    body = {"name": name, "new_name": "evil"}
    for address in ("192.168.7.7:8188", "100.64.10.20", "comfyui:8188"):
        headers = {"Host": address, **FOREIGN_PAGES[page]}
        answer = Answer(server, path, body, headers)
        assert answer.status == 403
        assert "another site" in answer.json["error"]
    assert name in listed(server)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://192.168.7.7:9999"])
def test_the_host_itself_refuses_other_sites_at_this_machine(
    server: ComfyServer, name: str, origin: str
) -> None:
    assert Answer(server, DELETE, {"name": name}, {"Origin": origin, **OURS}).status == 403
    assert name in listed(server)


def test_no_script_of_another_site_is_told_that_it_may_send_our_header(
    server: ComfyServer,
) -> None:
    asked = {
        "Origin": "https://evil.example",
        "Host": "192.168.7.7:8188",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-ays-page",
    }
    request = urllib.request.Request(server._url + DELETE, headers=asked, method="OPTIONS")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert not [key for key in answer.headers if key.startswith("Access-Control")]


# Host as proxies send it, Origin as the browser does.
PROXIES = {
    "none": ("192.168.7.7:8188", "http://192.168.7.7:8188"),
    "nginx with $host, a port": ("studio.lan", "http://studio.lan:7777"),
    "a pod behind a cloud's proxy": ("100.64.10.20", "https://pod-8188.proxy.example"),
    "a service name": ("comfyui:8188", "https://studio.example"),
    "https with a port": ("studio.lan:8188", "https://studio.lan:8443"),
    "a tunnel": ("tunnel-7f.internal", "https://quiet-river.tunnel.example"),
    "an address of IPv6": ("[fd00::7]:8188", "http://studio.lan"),
    "capitals": ("Studio.LAN", "https://studio.lan"),
}


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("sent", [{"Sec-Fetch-Site": "same-origin"}, OURS], ids=["https", "http"])
def test_our_page_is_at_home_behind_any_proxy(
    server: ComfyServer, proxy: str, sent: dict[str, str]
) -> None:
    address, origin = PROXIES[proxy]
    headers = {"Host": address, "Origin": origin, **sent}
    assert Answer(server, "/ays/finish", {}, headers).json == {"finishing": False}
    content = {"name": "behind a proxy", "sigmas": [14.0, 1.0, 0.0]}
    answer = Answer(server, IMPORT, content, headers, filename="x.json")
    assert answer.status == 200, answer.data
    shows = answer.json["name"]
    assert Answer(server, DELETE, {"name": shows}, headers).status == 200
    assert shows not in listed(server)


def test_a_script_that_is_no_page_needs_no_header(server: ComfyServer, name: str) -> None:
    assert Answer(server, DELETE, {"name": name}, {"Host": "studio.lan"}).status == 200
    assert name not in listed(server)
