"""Nobody is let in, and nothing goes out: requests that no page of ours would send, pages of other
sites, and what the process reaches for while everything that the pack has is used.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product, repeat
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from align_your_steps.tests.host.graphs import (
    compare_graph,
    merge_graph,
    optimize_graph,
    plot_graph,
    sampled,
    scheduler_graph,
)
from align_your_steps.tests.host.server import OUR_PACK, TEST_PACK, ComfyServer
from align_your_steps.tests.torture.audit import reaches_out
from align_your_steps.tests.torture.raw_http import Answer, Line, ask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ALONE = Path(__file__).with_name("alone.py")
AtLength = Callable[[int, int], int]
Fault = Callable[..., None]

LEVELS = [14.6, 3.0, 1.0, 0.25, 0.0]
LISTED, FINISH = "/ays/schedules", "/ays/finish"
RENAME, DELETE, IMPORT, EXPORT, TEXT = (
    f"/ays/schedules/{verb}" for verb in ("rename", "delete", "import", "export", "text")
)
POSTED, ASKED = [FINISH, RENAME, DELETE, IMPORT], [LISTED, EXPORT, TEXT]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
MIB = 2**20
LONGEST_SENTENCE = 500  # characters
CHUNK = bytes(MIB)
NOBODYS = "nobody's"  # no test of this suite gives a schedule this name

NAMES = [
    "", " ", ".", "..", "../../secret", "..\\..\\secret", "/etc/passwd", "C:\\Windows\\win.ini",
    "schedules/optimized/../../secret.json", "%2e%2e%2fsecret", "file:///etc/passwd", "~", "*",
    "a\0b", "a\r\nSet-Cookie: c=d", 'x"; filename="evil.exe', "x\nX-Evil: 1", "\u202egnp.exe",
    "\u2066x\u2069\u200f", "x\u2028y", "con", "NUL.json", "é" * 255, "x" * 255, "x" * 256,
    "x" * 7000, "$(reboot)", "`id`", "{0.__class__}", "%s%n", "<img src=x onerror=alert(1)>",
    "'; DROP TABLE schedules --", "😀" * 60, "auto", "SDXL",
]  # fmt: skip
TARGETS: list[str | bytes] = [
    f"{EXPORT}?name=%", f"{EXPORT}?name=%ff%fe", f"{EXPORT}?name=%00", f"{EXPORT}?%00=%00",
    EXPORT.encode() + b"?name=\xff\xfe", f"{EXPORT}?name=\x7f",
    f"{EXPORT}?" + f"name={NOBODYS}&" * 600,
    f"{EXPORT}?name=" + "x" * 1_000_000, f"{EXPORT}?name={NOBODYS}&name=b",
    f"{EXPORT};x?name={NOBODYS}",
    f"{LISTED}/../../../../etc/passwd", f"{LISTED}/%2e%2e/%2e%2e/etc/passwd",
    f"{LISTED}/..%2f..%2f", f"{LISTED}/export/../../../custom_nodes", f"{LISTED}/\\..\\..",
    f"/{LISTED}", f"{LISTED}/",
    f"{LISTED}/export%00", "/ays", "/ays/", "/ays/*", "/AYS/SCHEDULES", "/ays/schedules/optimized",
    "/ays/finish/../../etc", "/ays/schedules/import?filename=/etc/passwd", "/\x01",
]  # fmt: skip
BODIES = [
    b"", b" ", b"{", b"[]", b"null", b"5", b'"x"', b"NaN", b"{}", b'{"name": NaN}',
    b'{"name": null, "new_name": null}', b'{"name": 1e999, "new_name": []}', b'{"name": ["x"]}',
    b'{"name": {"name": "x"}}', b'{"name": "a", "name": "b", "new_name": "c"}', b"\xff\xfe{}",
    '{"name": "x", "new_name": "y"}'.encode("utf-16"), b'{"name": "\\ud800", "new_name": "y"}',
    b'{"name": ' + b"9" * 60_000 + b"}", b"[" * 60_000, b'{"name":' * 8_000, b"\0" * 1000,
    b"{" + b'"name": "x", ' * 4_000 + b'"new_name": "y"}', b" " * 65_537,
    b'{"name": "' + b"x" * 65_000 + b'", "new_name": "y"}', b"name=x&new_name=y",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
]  # fmt: skip
ODD_HEADERS = [
    {"Content-Length": "-1"}, {"Content-Length": "1e3"}, {"Content-Length": "9" * 400},
    {"Transfer-Encoding": "chunked", "Content-Length": "5"}, {"Transfer-Encoding": "x"},
    {"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate"}, {"Content-Encoding": "br"},
    {"Expect": "200-maybe"}, {"Host": ""}, {"Host": "a b"}, {"Host": "[::1"}, {"Host": "x" * 7000},
    {"Origin": "http://["}, {"Origin": "\udcff"}, {"Origin": "x" * 7000}, {"X": "y" * 100_000},
    {"Content-Type": "multipart/form-data; boundary=x"}, {"Upgrade": "websocket"},
    {"Range": "bytes=0-9999999999"}, {"Cookie": "a" * 7000}, {"Sec-Fetch-Site": "cross-site"},
]  # fmt: skip

OUR_FILE = re.compile(r'File "[^"\n]*/align-your-steps/')
# aiohttp reads on after our answer, and logs that a damaged body is still damaged.
LEFT_UNREAD = "await payload.readany()"
# The host's own check of an Origin fails on one that is no address, before it comes to us.
HOSTS_OWN = [{"Origin": "http://["}]


@pytest.fixture(scope="module")
def closed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    """A server that hears all that our pack does from its import on; in short the shared one."""
    if not request.config.getoption("--torture"):
        yield request.getfixturevalue("server")
        return
    base = tmp_path_factory.mktemp("closed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AYS_TEST_LISTENS", "1")
        host = request.getfixturevalue("host_path")
        with ComfyServer(host, base, packs=(TEST_PACK, OUR_PACK)) as own:
            yield own


@pytest.fixture(scope="module")
def folder(closed: ComfyServer) -> Path:
    """Return where the server saves schedules."""
    return Path(closed.get(LISTED)["folder"])


class Kept:
    """A user's schedule, which must be there whatever is asked of the server.

    Beside the folder lies a schedule that must never be read.
    """

    def __init__(self, server: ComfyServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        content = {"name": "kept", "sigmas": LEVELS}
        self.name: str = server.post(f"{IMPORT}?filename=kept.json", content)["name"]
        self.secret = folder.parent / "secret.json"
        self.secret.write_text(json.dumps({"name": "secret", "sigmas": LEVELS}), encoding="utf-8")
        self.files = self._files()
        self.tree = self._tree()
        self.spoken = len(server.log)

    def _files(self) -> dict[str, bytes]:
        shown = [file for file in self.folder.iterdir() if not file.name.startswith(".")]
        return {file.name: file.read_bytes() for file in shown}

    def _tree(self) -> set[Path]:
        """All else that the server could write to, without what Python and the host keep."""
        kept = ("__pycache__", "temp", "host.db", ".ays-lock", self.folder.name)
        found = self.server.base.rglob("*")
        return {path for path in found if not any(part.startswith(kept) for part in path.parts)}

    @property
    def lost(self) -> int:
        """Count how many of a user's files are not what they were."""
        now = self._files()
        return sum(now.get(name) != data for name, data in self.files.items())

    def check(self) -> list[str]:
        """Return what went wrong on the server."""
        said = self.server.log[self.spoken :].split("Traceback")[1:]
        wrong = [f"Traceback{trace[-300:]}" for trace in said
                 if OUR_FILE.search(trace) and LEFT_UNREAD not in trace]  # fmt: skip
        wrong += [f"a new file: {path}" for path in self._tree() - self.tree]
        wrong += [f"a new schedule: {name}" for name in self._files().keys() - self.files.keys()]
        return wrong


@pytest.fixture
def kept(closed: ComfyServer, folder: Path) -> Iterator[Kept]:
    """A user's schedule."""
    made = Kept(closed, folder)
    yield made
    made.secret.unlink()
    if not made.lost:
        closed.post(DELETE, {"name": made.name})


def wrong(answer: Answer | None, *, ours: bool = True, may: tuple[int, ...] = ()) -> str:
    """Return what is wrong with a refusal; empty if nothing is.

    ours: whether our pack answers, rather than the host that never called us
    may:  what else it may answer
    """
    if answer is None:
        return "" if not ours else "no answer"
    if answer.status in may:
        return ""
    if not 400 <= answer.status < 500:
        return f"{answer.status} {answer.data[:80]!r}"
    if not ours:
        return ""
    sentence = answer.error
    if not sentence or not sentence.isprintable() or len(sentence) > LONGEST_SENTENCE:
        return f"{answer.status} {answer.data[:80]!r}"
    return ""


class Trials:
    """Counts what was tried, and keeps what went wrong."""

    def __init__(self, kept: Kept) -> None:
        self.kept, self.count, self.wrong = kept, 0, []  # type: ignore[var-annotated]

    def note(self, what: str, found: str) -> None:
        """One trial, and what was wrong with it."""
        self.count += 1
        if found:
            self.wrong.append(f"{what[:120]}: {found}")

    def report(self, fault: Fault, what: str, remark: str = "") -> None:
        """The row of the table."""
        after = self.kept.check()
        survived = self.count - len(self.wrong) if not after else 0
        told = "; ".join([*self.wrong[:5], *after[:5]]) or remark
        fault(what, trials=self.count, survived=survived, lost=self.kept.lost, remark=told)


def listed(server: ComfyServer) -> dict[str, Any]:
    """The saved schedules by their names."""
    return {row["name"]: row for row in server.get(LISTED)["schedules"]}


# -- what is asked ------------------------------------------------------------------------------


def test_requests_that_no_page_would_send_are_refused(
    closed: ComfyServer, kept: Kept, fault: Fault
) -> None:
    trials = Trials(kept)
    for path, method in product(POSTED + ASKED, METHODS):
        if method in ("POST", "HEAD", "GET") and (method == "POST") == (path in POSTED):
            continue
        answer = ask(closed, method, path, b"{}")
        # The host answers OPTIONS itself: no other page is told that it may come.
        invited = answer is not None and "Access-Control-Allow-Origin" in answer.headers
        may = (200,) if method == "OPTIONS" and not invited else ()
        trials.note(f"{method} {path}", wrong(answer, ours=False, may=may))
    for target, method in product(TARGETS, ("GET", "POST")):
        answer = ask(closed, method, target, b"{}")
        # The host serves its page at the root, and asks our routes by other spellings of a path.
        here = target in (f"/{LISTED}", f"{LISTED}/") and method == "GET"
        found = wrong(answer, ours=False, may=(200, 404) if here else ())
        trials.note(f"{method} {target!r}", found)
        if answer is not None and b"root:" in answer.data:
            trials.note(f"{method} {target!r}", "a file of the system")
    for path, headers in product([LISTED, *POSTED, EXPORT], ODD_HEADERS):
        method = "POST" if path in POSTED else "GET"
        asked = {"Content-Length": "4", **headers}
        line = Line(closed, method, path, asked)
        line.send(b"{}\r\n")
        if "9" * 400 in headers.values():
            line.end()  # it would wait for the rest
        reads = path in (LISTED, FINISH)  # they read no body, so they may as well answer
        may = (200,) * reads + (500,) * (headers in HOSTS_OWN)
        trials.note(f"{path} {headers}", wrong(line.answer(), ours=False, may=may))
    trials.note("the next one", "" if kept.name in listed(closed) else "the list is not there")
    trials.report(fault, "HTTP: methods, addresses and headers that no page sends")


def by_name(closed: ComfyServer, kept: Kept, name: str) -> Iterator[tuple[str, str]]:
    """Return what is wrong with the answers to requests with a name, everywhere a name can be."""
    own = quote(kept.name)
    coded = quote(name, safe="", errors="surrogatepass")
    asked: dict[str, Any] = {"name": name, "new_name": "x"}
    yield "delete", wrong(ask(closed, "POST", DELETE, json.dumps(asked).encode()))
    yield "rename", wrong(ask(closed, "POST", RENAME, json.dumps(asked).encode()))
    yield "export", wrong(ask(closed, "GET", f"{EXPORT}?name={coded}"))
    yield "text", wrong(ask(closed, "GET", f"{TEXT}?name={coded}&for=comfyui"))
    yield "format", wrong(ask(closed, "GET", f"{EXPORT}?name={own}&format={coded}"))
    yield "tool", wrong(ask(closed, "GET", f"{TEXT}?name={own}&for={coded}"))
    broken = ask(closed, "POST", f"{IMPORT}?filename={coded}", b"no schedule")
    yield "import", wrong(broken)
    yield "sent", taken(closed, kept, f"{IMPORT}?filename={coded}", {"sigmas": [7.0, 1.0, 0.0]})
    yield "called", taken(closed, kept, IMPORT, {"name": name, "sigmas": [7.0, 1.5, 0.0]})


def taken(closed: ComfyServer, kept: Kept, address: str, content: dict[str, Any]) -> str:
    """Name what is wrong after an import under whatever name: it must be a plain file."""
    answer = ask(closed, "POST", address, json.dumps(content).encode())
    if answer is None or answer.status != 200:
        return wrong(answer)
    shows = json.loads(answer.data)["name"]
    row = listed(closed)[shows]
    exported = ask(closed, "GET", f"{EXPORT}?name={quote(shows)}")
    removed = ask(closed, "POST", DELETE, json.dumps({"name": shows}).encode())
    if exported is None or removed is None or (exported.status, removed.status) != (200, 200):
        return f"{shows!r} cannot be used"
    disposition = exported.headers.get_all("Content-Disposition") or []
    plain = re.fullmatch(r'attachment; filename="[\w.-]+\.json"', ", ".join(disposition), re.A)
    if not plain or set(exported.headers) & {"Set-Cookie", "X-Evil"}:
        return f"headers {exported.headers.items()}"
    if Path(row["folder"]) != kept.folder or not re.fullmatch(r"[\w.-]+", row["file"], re.A):
        return f"the file {row['folder']} {row['file']}"
    return "" if shows.isprintable() and 0 < len(shows) <= 110 else f"shown as {shows!r}"


def test_names_reach_no_file_but_a_schedules(
    closed: ComfyServer, kept: Kept, at_length: AtLength, fault: Fault
) -> None:
    trials = Trials(kept)
    closed.get("/ays_test/listen")

    def tried(name: str) -> None:
        for place, found in by_name(closed, kept, name):
            trials.note(f"{place} {name!r}", found)

    for name in NAMES[:: at_length(4, 1)]:
        tried(name)
    generated(st.text(max_size=300), tried, at_length(5, 150))
    places = [kept.folder, *repeat(Path(sys.prefix), 1), Path(sys.base_prefix), OUR_PACK]
    places += [kept.folder.parents[1], Path("/tmp"), closed.base / "user" / "ays_schedules"]
    for event in closed.get("/ays_test/heard")["events"]:
        for path in map(Path, [*event["changed"], *filter(None, [event["opened"]])]):
            inside = any(path.is_relative_to(place) for place in places)
            if not inside or path == kept.secret:
                trials.note(str(path), f"touched by {event['ours']}")
    trials.report(fault, "HTTP: names with separators, dots, NUL, headers, marks")


def generated(strategy: st.SearchStrategy[Any], tried: Callable[[Any], None], count: int) -> None:
    """Try so many generated things; the same ones in each run."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(thing: Any) -> None:
        tried(thing)

    each()


def test_bodies_that_are_no_question_are_refused(
    closed: ComfyServer, kept: Kept, at_length: AtLength, fault: Fault
) -> None:
    trials = Trials(kept)

    def tried(body: bytes) -> None:
        for path in (RENAME, DELETE, IMPORT):
            trials.note(f"{path} {body[:60]!r}", wrong(ask(closed, "POST", path, body)))

    for body in BODIES:
        tried(body)
    leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20)
    keys = st.sampled_from(["name", "new_name", "levels", "sigmas", "others", "version"])
    values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner))
    written = values.map(lambda value: json.dumps({"name": "\0", "sigmas": value}).encode())
    whole = [b'{"name": "x", "new_name": "y"}', json.dumps({"sigmas": [1.0, 2.0]}).encode()]
    cut = st.tuples(st.sampled_from(whole), st.integers(1, 20), st.binary(max_size=8)).map(
        lambda part: part[0][: part[1]] + part[2]
    )
    generated(st.binary(max_size=400) | written | cut, tried, at_length(20, 700))
    trials.report(fault, "HTTP: bodies that are no question or schedule")


# -- how much, how slowly, how many at once -----------------------------------------------------


def peak(server: ComfyServer, *, reset: bool = False) -> int:
    """MiB of memory that the server has taken at most since the last reset."""
    process = Path(f"/proc/{server._process.pid}")  # type: ignore[union-attr]
    if reset:
        (process / "clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    assert found is not None
    return int(found[1]) >> 10


def open_files(server: ComfyServer) -> int:
    """Files and connections that the server has open."""
    return len(os.listdir(f"/proc/{server._process.pid}/fd"))  # type: ignore[union-attr]


def lines_ended(server: ComfyServer, before: int) -> Callable[[], bool]:
    """Tell whether all bodies are forgotten and all connections closed."""

    def ended() -> bool:
        return server.get("/ays_test/held")["bytes"] == 0 and open_files(server) <= before

    return ended


def test_uploads_beyond_all_bounds_are_refused_in_bounded_memory(
    closed: ComfyServer, kept: Kept, at_length: AtLength, fault: Fault
) -> None:
    trials, many, gigabyte = Trials(kept), at_length(2, 8), at_length(128, 1024)
    closed.get(LISTED)
    files, before = open_files(closed), peak(closed, reset=True)
    chunked = {"Transfer-Encoding": "chunked"}

    def upload(rude: bool) -> tuple[str, int]:
        line = Line(closed, "POST", IMPORT, chunked)
        sent = line.send_chunks(repeat(CHUNK, gigabyte), rude=rude)
        answer = line.answer()
        # A client that does not listen until it has sent everything is cut off at some time.
        return wrong(answer, ours=not rude), sent

    with ThreadPoolExecutor(many) as threads:
        for rude in (False, True):
            for found, sent in threads.map(upload, [rude] * many):
                trials.note(f"{sent >> 20} MiB", found)
    squeezed = gzip.compress(bytes(gigabyte * MIB), 6)
    for path in (IMPORT, RENAME):
        found = wrong(ask(closed, "POST", path, squeezed, {"Content-Encoding": "gzip"}))
        trials.note(f"{len(squeezed) >> 10} KiB that become {gigabyte} MiB", found)
    closed.until(lines_ended(closed, files))
    grown = peak(closed) - before
    trials.note("memory", "" if grown < 512 else f"{grown} MiB more")
    what = f"HTTP: uploads of {gigabyte} MiB without a length, {many} at once, or compressed"
    trials.report(fault, what, f"{grown} MiB at most")


def test_clients_that_stop_in_the_middle_stop_nobody_else(
    closed: ComfyServer, kept: Kept, at_length: AtLength, fault: Fault
) -> None:
    trials, many = Trials(kept), at_length(20, 150)
    files = open_files(closed)
    half = {"Content-Length": str(2 * MIB)}

    def stopped(path: str, data: bytes = bytes(100_000)) -> Line:
        line = Line(closed, "POST", path, half)
        line.send(data)
        return line

    silent = [stopped((IMPORT, RENAME)[k % 2], bytes(1000 * (k % 60))) for k in range(many)]
    closed.until(lambda: closed.get("/ays_test/held")["bytes"] > 1000 * many)
    for _ in range(5):
        trials.note("meanwhile", "" if kept.name in listed(closed) else "no answer")
    for line in silent:
        line.close()
        trials.note("hung up in the middle", "")
    closed.until(lines_ended(closed, files))

    closed.get("/ays_test/patience?s=0.2")
    try:
        for path in (IMPORT, RENAME, DELETE):
            answer = stopped(path, b"{").answer()
            late = "" if answer and answer.status == 408 else f"{answer and answer.status}"
            trials.note(f"too slow for {path}", wrong(answer) or late)
    finally:
        closed.get("/ays_test/patience?s=300")

    # Two that hold nearly all of the memory that all may hold, and a third.
    large = {"Content-Length": str(64 * MIB)}
    holding = [Line(closed, "POST", IMPORT, large) for _ in range(2)]
    for line in holding:
        line.send(bytes(60 * MIB))
    closed.until(lambda: closed.get("/ays_test/held")["bytes"] == 120 * MIB)
    third = Line(closed, "POST", IMPORT, large)
    third.send(bytes(10 * MIB))
    answer = third.answer()
    busy = "" if answer and answer.status == 429 else f"{answer and answer.status}"
    trials.note("a third of 64 MiB", wrong(answer) or busy)
    trials.note("meanwhile", "" if kept.name in listed(closed) else "no answer")
    for line in holding:
        line.close()
    closed.until(lines_ended(closed, files))
    again = taken(closed, kept, IMPORT, {"name": "after", "sigmas": [6.0, 1.0, 0.0]})
    trials.note("the next import", again)
    trials.report(fault, "HTTP: clients that stop in the middle of a body")


def test_many_requests_at_once_are_all_answered(
    closed: ComfyServer, kept: Kept, at_length: AtLength, fault: Fault
) -> None:
    trials, many = Trials(kept), at_length(60, 200)
    files = open_files(closed)

    def asked(k: int) -> tuple[str, str]:
        """Import, rename and delete the same few over and over, and look at them meanwhile."""
        name = f"at once {k % 3}"
        sent = json.dumps({"name": name, "sigmas": [5.0, 1.0 + k % 3 / 10, 0.0]}).encode()
        question = json.dumps({"name": name, "new_name": f"at once {(k + 1) % 3}"}).encode()
        path, body = [
            (IMPORT, sent), (RENAME, question), (LISTED, None), (DELETE, question),
            (f"{EXPORT}?name={quote(name)}", None), (f"{TEXT}?name={quote(kept.name)}", None),
            (FINISH, b""),
        ][k % 7]  # fmt: skip
        answer = ask(closed, "GET" if body is None else "POST", path, body)
        return path, wrong(answer, may=(200,))

    barrier = threading.Barrier(many)

    def together(k: int) -> tuple[str, str]:
        barrier.wait()
        return asked(k)

    with ThreadPoolExecutor(many) as threads:
        for path, found in threads.map(together, range(many)):
            trials.note(path, found)
    for name in [name for name in listed(closed) if name.startswith("at once")]:
        closed.post(DELETE, {"name": name})
    closed.until(lines_ended(closed, files))
    trials.report(fault, f"HTTP: {many} requests at once on the same schedules")


def test_pages_of_other_sites_are_refused_at_any_address(
    closed: ComfyServer, kept: Kept, fault: Fault
) -> None:
    trials = Trials(kept)
    here = urlsplit(closed._url).netloc
    question = json.dumps({"name": kept.name, "new_name": "evil"}).encode()
    foreign = [
        "https://evil.example", "null", "http://127.0.0.1.evil.example", f"http://x@{here}",
        "http://127.0.0.1:1", "file://", "chrome-extension://abc", "http://",
    ]  # fmt: skip
    headers = [
        {"Origin": origin, **at} for origin in foreign for at in ({}, {"Host": "192.168.7.7:8188"})
    ]
    headers += [
        {"Origin": origin, "Host": urlsplit(origin).netloc, "Content-Type": kind}
        for origin in ("http://proxy.lan", "https://[fd00::7]:8188")
        for kind in ("text/plain", "multipart/form-data; boundary=x")
    ]
    headers += [
        {"Sec-Fetch-Site": site, "X-AYS-Page": "1"}
        for site in ("cross-site", "same-site", "", "same-origin, cross-site")
    ]
    headers += [{"Origin": "null", "X-AYS-Page": "1", "Host": "192.168.7.7:8188"}]
    headers += [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": kind}
        for mode, kind in (("no-cors", "script"), ("no-cors", "image"), ("navigate", "x"))
    ]
    for said, path in product(headers, [*POSTED, *ASKED, f"/api{DELETE}"]):
        post = path not in ASKED
        answer = ask(closed, "POST" if post else "GET", path, question if post else None, said)
        refused = "" if answer and answer.status == 403 else f"{answer and answer.status}"
        trials.note(f"{path} {said}", refused)
    answers = [ask(closed, "GET", f"{path}?name={quote(kept.name)}") for path in ASKED]
    for path, answer in zip(ASKED, answers, strict=True):
        marks = {} if answer is None else dict(answer.headers)
        open_to = "" if marks.get("Cross-Origin-Resource-Policy") == "same-origin" else "anybody"
        guess = "" if marks.get("X-Content-Type-Options") == "nosniff" else "a script"
        trials.note(f"{path} can be loaded by", open_to or guess)
        if "Access-Control-Allow-Origin" in marks:
            trials.note(path, "can be read by other pages")
    trials.report(fault, "HTTP: pages of other sites, at this address and at others")


# -- what goes out ------------------------------------------------------------------------------


def test_without_a_host_nothing_is_reached_and_nothing_written_elsewhere(
    tmp_path: Path, fault: Fault
) -> None:
    allowed = tmp_path / "allowed"
    (allowed / "tmp").mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(allowed / "tmp"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-B", str(ALONE), str(allowed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["made"] == ["mine", "renamed", "renamed", "renamed", "by hand"]
    tried = [event for event, _ in told["caught"]]
    assert tried == ["socket.getaddrinfo", "subprocess.Popen", "open"], "the watch sees nothing"
    assert [path.name for path in tmp_path.iterdir()] == ["allowed"]
    quiet = not told["refused"] and told["sockets"] == 0
    what = "without a host: sockets, programs, files elsewhere are forbidden"
    fault(what, trials=1, survived=int(quiet), remark=str(told["refused"] or ""))


def test_nodes_and_routes_open_no_connection(
    closed: ComfyServer, kept: Kept, fault: Fault, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--torture"):
        closed.get("/ays_test/listen")  # else it has listened since before our pack was imported
    graph = sampled(optimize_graph(budget=200, name="closed", reuse="measure again"))
    applied = {"model": ["model", 0], "schedule": kept.name}
    graph["apply"] = {"class_type": "AYSApply", "inputs": applied}
    graph["sample 2"] = json.loads(json.dumps(graph["sample"]))
    graph["sample 2"]["inputs"]["model"] = ["apply", 0]
    graph["save 2"] = json.loads(json.dumps(graph["save"]))
    graph["save 2"]["inputs"]["samples"] = ["sample 2", 0]
    runs = [
        graph,
        scheduler_graph(schedule=kept.name),
        compare_graph(schedules="simple, karras", noises=2),
        plot_graph("14, 3, 0", "10, 2, 0"),
        merge_graph("closed"),
    ]
    for run in runs:
        closed.run(run)
    own = quote(kept.name)
    asked = [(LISTED, None), (f"{EXPORT}?name={own}", None), (f"{TEXT}?name={own}", None)]
    asked += [(f"{EXPORT}?name={own}&format=safetensors", None), (FINISH, b"")]
    asked += [(RENAME, json.dumps({"name": "closed", "new_name": "closed 2"}).encode())]
    asked += [(IMPORT, json.dumps({"name": "closed 3", "sigmas": [9.0, 1.0, 0.0]}).encode())]
    asked += [(DELETE, json.dumps({"name": name}).encode()) for name in ("closed 2", "closed 3")]
    for path, body in asked:
        answer = ask(closed, "GET" if body is None else "POST", path, body)
        assert answer is not None and answer.status == 200, (path, answer and answer.data)
    heard = closed.get("/ays_test/heard")["events"]
    assert any(event["changed"] for event in heard), "it hears nothing"
    # matplotlib asks which fonts there are, once on a machine, and keeps the answer.
    fonts = [event for event in heard if "'fc-list'" in event["arguments"]]
    out = [event for event in heard if reaches_out(event["event"]) and event not in fonts]

    closed.get("/ays_test/listen")
    broken = optimize_graph(budget=200, reuse="measure again", name="trespass")
    broken["trespass"] = {"class_type": "AYSTestTrespass", "inputs": {"model": ["model", 0]}}
    broken["optimize"]["inputs"]["model"] = ["trespass", 0]
    closed.run(broken)
    closed.post(DELETE, {"name": "trespass"})
    seen = {event["event"] for event in closed.get("/ays_test/heard")["events"]}
    assert {"socket.connect", "urllib.Request", "subprocess.Popen"} <= seen, "it hears nothing"

    trials = len(runs) + len(asked)
    remark = "; ".join(f"{event['event']} {event['ours']}" for event in out[:5])
    remark = remark or f"no connection; {len(fonts)} questions of matplotlib for fonts"
    survived = trials if not out else 0
    fault("in the host: connections, programs", trials=trials, survived=survived, remark=remark)
