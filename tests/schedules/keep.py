"""Keep files as this version writes them, for every later version to read.

    .venv/bin/python -m align_your_steps.tests.schedules.keep

runs optimisations in a real ComfyUI (`make host`) and copies what they leave into
tests/schedules/kept/<version>/, with what this version reads from it in expected.json. Run it once
for each version that is published. It never writes over what is kept.

    .venv/bin/python -m align_your_steps.tests.schedules.keep samplers

needs no ComfyUI, and has made kept/format-2: a result with calibrated samplers, made by hand.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import torch
from align_your_steps.schedules import SavedSchedule
from align_your_steps.schedules.store.json_file import read_shared, to_json_bytes
from align_your_steps.schedules.store.saved_schedule import digest_of, read_saved, to_bytes
from align_your_steps.schedules.store.workflow_json import packed, unpacked
from align_your_steps.tests.host import test_carried, test_finish, test_resume
from align_your_steps.tests.host.get_host import find_host
from align_your_steps.tests.host.graphs import optimize_graph, pair_graph
from align_your_steps.tests.host.seen import network_rows
from align_your_steps.tests.host.server import OUR_PACK, TEST_PACK, ComfyServer, Graph
from align_your_steps.tests.schedules.made import with_samplers
from torch import Tensor

KEPT = Path(__file__).with_name("kept")
UNKNOWN_PACK = Path(test_carried.__file__).with_name("unknown_pack")
NODE = "5"

BY_HAND = {"sigmas": [14.6146, 6.4745, 3.8636, 2.0, 1.0, 0.5, 0.0291]}


def main() -> None:
    """Make the folder of this version."""
    text = (OUR_PACK / "pyproject.toml").read_text(encoding="utf-8")
    version = text.partition('version = "')[2].partition('"')[0]
    folder = KEPT / version
    if folder.exists():
        sys.exit(f"{folder} is there already: what is kept stays as it is.")
    with tempfile.TemporaryDirectory() as base:
        made = Path(base) / "kept"
        made.mkdir()
        packs = (OUR_PACK, TEST_PACK, UNKNOWN_PACK)
        with ComfyServer(find_host(), Path(base) / "comfy", packs) as server:
            requests = _results(server, made)
        _expect(made, requests)
        shutil.copytree(made, folder)
    print(f"Kept this version's files in {folder}.")


def _expect(folder: Path, requests: dict[str, dict[str, Any]]) -> None:
    """Write down what this version reads from the files of a folder."""
    expected = {
        file.relative_to(folder).as_posix(): _described(file, requests)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    text = json.dumps(expected, indent=1, allow_nan=False) + "\n"
    (folder / "expected.json").write_text(text, encoding="utf-8")


def described(saved: SavedSchedule) -> dict[str, Any]:
    """All that a result holds, as JSON types."""
    return {
        **saved.schedule.to_dict(),
        "digest": saved.digest,
        "identity": saved.identity,
        "request": saved.request,
        "notes": saved.notes,
        "tensors": tensors_described(saved.tensors),
        **({"samplers": [one.to_dict() for one in saved.samplers]} if saved.samplers else {}),
    }


def keep_samplers(folder: Path) -> None:
    """Make the folder of a format version by hand."""
    folder.mkdir()
    saved = with_samplers()
    found, _ = packed(saved, [])
    workflow = {"nodes": [{"id": 1}, {"id": 5, "properties": {"ays_schedule": found}}]}
    (folder / "calibrated.safetensors").write_bytes(to_bytes(saved))
    (folder / "calibrated.json").write_bytes(to_json_bytes(saved))
    (folder / "workflow.json").write_text(json.dumps(workflow, indent=1), encoding="utf-8")
    _expect(folder, {})


def tensors_described(tensors: dict[str, Tensor]) -> dict[str, list[Any]]:
    """Type, shape and a digest of the bytes of each tensor."""
    return {
        key: [
            str(tensor.dtype),
            list(tensor.shape),
            hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy()).hexdigest(),
        ]
        for key, tensor in sorted(tensors.items())
    }


def _results(server: ComfyServer, folder: Path) -> dict[str, dict[str, Any]]:
    """Fill the folder; return the requests of unfinished work by their digest."""
    pair = {"second_model": ["second", 0], "boundary_step": 2}
    several = {"more_steps": "4", "method": "paper (KLUB)"}
    _keep(server, folder, "measured", optimize_graph(name="measured", more_steps="4"))
    _keep(server, folder, "paper", optimize_graph(name="paper", budget=300, **several))
    _keep(server, folder, "fitted", optimize_graph(name="fitted", sampler_name="ays_model"))
    _keep(server, folder, "pair", pair_graph(name="pair", steps=4, **pair))
    unknown = optimize_graph(name="unknown")
    unknown["unknown"] = {"class_type": "AYSTestUnknown", "inputs": {"model": ["model", 0]}}
    unknown["optimize"]["inputs"]["model"] = ["unknown", 0]
    _keep(server, folder, "unknown", unknown)

    test_resume.cancelled(server, test_resume.EARLY, name="unfinished")
    stage = min(test_resume.unfinished(server), key=lambda path: path.stat().st_size)
    (folder / "unfinished" / stage.parent.name).mkdir(parents=True)
    shutil.copy(stage, folder / "unfinished" / stage.parent.name / stage.name)
    test_resume.finished(server, name="unfinished")
    (whole,) = test_finish.named(server, "unfinished").values()
    assert digest_of(whole.request) == stage.parent.name

    prompt = test_finish.graph("early")
    queued = test_finish.begun(server, prompt, rows=1200)
    assert test_finish.finish(server)
    server.wait(queued)
    _copy(server, folder, "early")

    by_hand = folder / "by-hand.json"
    by_hand.write_text(json.dumps(BY_HAND), encoding="utf-8")
    imported = server.post("/ays/schedules/import?filename=by-hand.json", BY_HAND)["name"]
    (folder / "imported.json").write_bytes(_exported(server, imported))

    graph = test_carried.scheduler("measured", NODE)
    entry = server.run(graph, pnginfo=test_carried.workflow(NODE))
    _, texts = test_carried.picture(server, entry)
    (folder / "workflow.json").write_text(json.dumps(texts["workflow"], indent=1), encoding="utf-8")
    return {stage.parent.name: whole.request}


def _keep(server: ComfyServer, folder: Path, name: str, graph: Graph) -> None:
    """Optimise and keep the result, as its file and as it is exported."""
    server.get("/ays_test/reset")
    server.run(graph)
    assert network_rows(server) > 0
    _copy(server, folder, name)


def _copy(server: ComfyServer, folder: Path, name: str) -> None:
    (path,) = test_finish.named(server, name)
    shutil.copy(path, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_bytes(_exported(server, name))


def _exported(server: ComfyServer, name: str) -> bytes:
    address = f"{server._url}/ays/schedules/export?name={urllib.parse.quote(name)}&format=json"
    with urllib.request.urlopen(address, timeout=60) as answer:
        data: bytes = answer.read()
    return data


def _described(file: Path, requests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what this version reads from a kept file."""
    if file.parent.parent.name == "unfinished":
        from safetensors.torch import load_file  # another reader than the one that is tested

        request = requests[file.parent.name]
        return {"request": request, "tensors": tensors_described(load_file(file))}
    if file.name == "workflow.json":
        carried = test_carried.carried({"workflow": json.loads(file.read_text(encoding="utf-8"))})
        return described(unpacked(carried or {}, "carried")[0])
    if file.suffix == ".json":
        return described(read_shared(file))
    return described(read_saved(file, with_tensors=True))


if __name__ == "__main__":
    if sys.argv[1:] == ["samplers"]:
        keep_samplers(KEPT / "format-2")
    else:
        main()
