"""A real ComfyUI server for tests: a separate program with a base directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

__all__ = [
    "EMPTY_PACK",
    "IMPORT_METER",
    "OUR_PACK",
    "PEER_PACK",
    "TEST_PACK",
    "ComfyServer",
    "Graph",
    "HostError",
    "PromptError",
]

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
OUR_PACK = REPOSITORY
TEST_PACK = HERE / "test_pack"
PEER_PACK = HERE / "peer_pack"
IMPORT_METER = HERE / "import_meter"
EMPTY_PACK = HERE / "empty_pack"

# An API graph: node id -> {"class_type": ..., "inputs": {name: value or [node id, output]}}.
Graph = dict[str, dict[str, Any]]


class HostError(RuntimeError):
    """The host did not do what was asked; the message holds what it said."""


class PromptError(HostError):
    """A prompt was refused or failed; `details` is the host's own account of it."""

    def __init__(self, message: str, details: dict[str, Any]) -> None:
        super().__init__(message)
        self.details = details


class ComfyServer:
    """A running host. Use it as a context manager, or call `start` and `stop`.

    Arguments:
        host: folder of a ComfyUI.
        base: base directory of the server: custom_nodes, models, user, output, temp.
        packs: node packs to load, in this order. They are copied, so that the server writes
            nothing into the repository; of our own pack, what its registry archive would hold.
        arguments: what is added to the host's command line.
        start_within: seconds until the first answer.
    """

    def __init__(
        self,
        host: Path,
        base: Path,
        packs: Sequence[Path] = (OUR_PACK, TEST_PACK),
        arguments: Sequence[str] = ("--cpu",),
        start_within: float = 180.0,
    ) -> None:
        self.host = host
        self.base = base
        self.arguments = list(arguments)
        self.start_within = start_within
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._starts = 0
        self._install(packs)

    def _install(self, packs: Sequence[Path]) -> None:
        """Copy each pack to a custom_nodes folder of its own.

        The host loads the packs within one folder in no particular order, but its folders in the
        order in which they are configured.
        """
        more = []
        for number, pack in enumerate(packs, start=1):
            folder = self.base / ("custom_nodes" if number == 1 else f"custom_nodes_{number}")
            if number > 1:
                more.append(str(folder))
            name = "align-your-steps" if pack == OUR_PACK else pack.name
            shutil.copytree(pack, folder / name, ignore=_not_shipped(pack), symlinks=True)
        for folder_name in ("custom_nodes", "input", "models", "output", "temp", "user"):
            (self.base / folder_name).mkdir(parents=True, exist_ok=True)
        config = {"tests": {"custom_nodes": "\n".join(more)}}
        self._paths_file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML too

    @property
    def _paths_file(self) -> Path:
        return self.base / "model_paths.yaml"

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- the process -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the host and wait for its first answer.

        Raises:
            HostError: it ended, or gave no answer in time; with the end of its log.
        """
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._starts += 1
        command = [sys.executable, str(HERE / "launch.py"), str(self.host), "main.py"]
        command += ["--listen", "127.0.0.1", "--port", str(port)]
        command += ["--base-directory", str(self.base)]
        command += ["--extra-model-paths-config", str(self._paths_file)]
        # A file: one in memory fills the log with errors of threads that share it.
        command += ["--database-url", f"sqlite:///{self.base / 'host.db'}"]
        command += ["--disable-api-nodes", "--disable-auto-launch", *self.arguments]
        # Offline: a host that looks for updates or models would make tests depend on the network.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + self.start_within
        while True:
            if self._process.poll() is not None:
                raise HostError(
                    f"The host ended with code {self._process.returncode} instead of starting:\n"
                    f"{self._tail()}"
                )
            with contextlib.suppress(OSError):
                self.get("/system_stats")
                return
            if time.monotonic() > deadline:
                self.stop()
                raise HostError(
                    f"The host gave no answer within {self.start_within:g} s:\n{self._tail()}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the host, by force if it does not obey."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop and start again on the same base directory; the log starts afresh."""
        self.stop()
        self.start()

    def forget(self) -> None:
        """Make the running host, with the test pack, know nothing of what was done with it before.

        Nothing is saved or begun, no output is remembered, no call is delayed.
        """
        results = self.base / "custom_nodes" / "align-your-steps" / "schedules" / "optimized"
        for folder in (results, self.base / "user" / "ays_unfinished"):
            shutil.rmtree(folder, ignore_errors=True)
        self.get("/ays_test/reset")
        self.post("/free", {"unload_models": True, "free_memory": True})
        # The host frees between two prompts: after this one it has done so.
        levels = {"class_type": "AYSTestSigmas", "inputs": {"levels": "1, 0"}}
        show = {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["levels", 0]}}
        self.run({"levels": levels, "show": show})

    @property
    def pid(self) -> int:
        """The number of the host's process. Raises HostError if it does not run."""
        if self._process is None:
            raise HostError("The host was not started.")
        return self._process.pid

    @property
    def _log_file(self) -> Path:
        return self.base / f"host-{self._starts}.log"

    @property
    def log(self) -> str:
        """Return what the host has written since its last start, without colours."""
        text = self._log_file.read_text(encoding="utf-8", errors="replace")
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def _tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.splitlines()[-lines:])

    # -- requests ----------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """GET a path and return the JSON of the answer."""
        return self._request(path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST JSON to a path and return the JSON of the answer, None for an empty one."""
        return self._request(path, json.dumps(body).encode())

    def _request(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(self._url + path, data=body)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def object_info(self, node: str) -> dict[str, Any]:
        """Return how the host describes a node; empty if it does not know it."""
        info: dict[str, Any] = self.get(f"/object_info/{node}")
        return info.get(node, {})

    def choices(self, node: str, name: str) -> list[str]:
        """Return what a combo input of a node offers, whichever way the host writes it down."""
        kind, *rest = self.object_info(node)["input"]["required"][name]
        options: list[str] = kind if isinstance(kind, list) else rest[0]["options"]
        return options

    def queue(self, graph: Graph, pnginfo: dict[str, Any] | None = None) -> str:
        """Queue an API graph and return its prompt id.

        pnginfo: what the page sends for saved pictures, {"workflow": ...}

        Raises:
            PromptError: the host refuses the graph; with all that it says about it.
        """
        try:
            extra = {} if pnginfo is None else {"extra_data": {"extra_pnginfo": pnginfo}}
            answer = self.post("/prompt", {"prompt": graph, **extra})
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            details: dict[str, Any] = json.loads(error.read())
            raise PromptError(_refusal(details), details) from None
        return str(answer["prompt_id"])

    def refusal(self, graph: Graph) -> dict[str, Any]:
        """The host's raw answer to a graph that it must refuse: `error` and `node_errors`.

        Raises:
            HostError: the host accepted it.
        """
        try:
            prompt_id = self.queue(graph)
        except PromptError as error:
            return error.details
        raise HostError(f"The host accepted a graph that it should refuse (prompt {prompt_id}).")

    def wait(self, prompt_id: str, timeout: float = 120.0) -> dict[str, Any]:
        """Wait for a prompt's end, good or bad, and return its history entry.

        Raises:
            HostError: the host ended, or the prompt did not within `timeout` seconds.
        """
        entry: dict[str, Any] = {}

        def ended() -> bool:
            entry.update(self.get(f"/history/{prompt_id}").get(prompt_id, {}))
            return bool(entry.get("status"))

        self.until(ended, timeout)
        return entry

    def until(self, holds: Callable[[], bool], timeout: float = 60.0) -> None:
        """Ask again and again until the answer is yes.

        Raises:
            HostError: the host ended, or the answer was no for `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not holds():
            if self._process is None or self._process.poll() is not None:
                raise HostError(f"The host ended while a test waited for it:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise HostError(f"The host was not done within {timeout:g} s:\n{self._tail()}")
            time.sleep(0.02)

    def run(
        self, graph: Graph, timeout: float = 120.0, pnginfo: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Queue a graph, wait for its end and return its history entry.

        Raises:
            PromptError: it was refused, failed or was interrupted; with what the host says.
        """
        entry = self.wait(self.queue(graph, pnginfo), timeout)
        for kind, details in entry["status"]["messages"]:
            if kind == "execution_error":
                raise PromptError(
                    f"{details['node_type']} (node {details['node_id']}): "
                    f"{details['exception_message'].strip()}",
                    details,
                )
            if kind == "execution_interrupted":
                raise PromptError(f"{details['node_type']} was interrupted.", details)
        return entry

    def interrupt(self) -> None:
        """Cancel the running prompt, as the Cancel button does."""
        self.post("/interrupt", {})

    # -- results -----------------------------------------------------------------------------

    def output(self, filename: str, subfolder: str = "") -> Path:
        """Path of a file in the output folder."""
        return self.base / "output" / subfolder / filename

    def latent(self, entry: dict[str, Any], node: str) -> Tensor:
        """The latent that a SaveLatent node has written, [B, C, H, W]."""
        (saved,) = entry["outputs"][node]["latents"]
        return load_file(self.output(saved["filename"], saved["subfolder"]))["latent_tensor"]


def _not_shipped(pack: Path) -> Any:
    """A filter for copytree: hidden files, caches, archives, the top entries in `.comfyignore`."""
    listed = pack / ".comfyignore"
    lines = listed.read_text(encoding="utf-8").split() if listed.is_file() else []
    everywhere = shutil.ignore_patterns(".*", "__pycache__", "optimized")
    # The archive lies there while a test in another process packs it.
    at_the_top = shutil.ignore_patterns("node.zip", *(line.strip("/") for line in lines))

    def ignored(folder: str, names: list[str]) -> set[str]:
        found = everywhere(folder, names)
        return found | at_the_top(folder, names) if Path(folder) == pack else found

    return ignored


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refusal(details: dict[str, Any]) -> str:
    """All that the host says about a graph that it refuses, one line for each error."""
    lines = [f"{details['error']['message']}: {details['error']['details']}"]
    for node, errors in details["node_errors"].items():
        for error in errors["errors"]:
            lines.append(
                f"{errors['class_type']} (node {node}): {error['message']}: {error['details']}"
            )
    return "\n".join(lines)
