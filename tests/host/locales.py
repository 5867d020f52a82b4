"""The texts of the nodes in the form of `locales/<language>/nodeDefs.json`: `make locales`.

As a script, this file writes the English one from what a real host says of the nodes. The others
are translated by hand, and the tests tell what is missing.

How the page uses such a file (1.28 to 1.49, both renderers): `name` is the label of an input, a
widget or an output, whose own name stays what it is in workflows; options of drop-downs are never
translated. A dot in the name of an input is an underscore in its key. Outputs are numbered, and
those that are named like their type have no label of their own. Texts are messages of vue-i18n:
`{`, `}`, `@` and `|` mean something else than themselves there, and one of them wrongly placed
makes the page refuse the node.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from align_your_steps.tests.host.get_host import NoHostError, find_host
from align_your_steps.tests.host.server import OUR_PACK, ComfyServer

__all__ = ["LANGUAGES", "NODES", "Texts", "english", "read_locale"]

LOCALES = OUR_PACK / "locales"
LANGUAGES = ("en", "zh", "ja", "ko", "ru")
NODES = ("AYSScheduler", "AYSApply", "AYSOptimize", "AYSCompare", "AYSMergeProfiles", "AYSPlot")
GROWING = "COMFY_AUTOGROW_V3"  # newer hosts write a growing list of inputs as one input

Texts = dict[str, Any]


def read_locale(language: str, file: str = "nodeDefs") -> Texts:
    """The texts of a language: of the nodes, by node, or those of another file."""
    texts: Texts = json.loads((LOCALES / language / f"{file}.json").read_text(encoding="utf-8"))
    return texts


def english(server: ComfyServer) -> Texts:
    """The texts that the nodes have in the host, by node."""
    return {node: _texts(server.object_info(node)) for node in NODES}


def _texts(info: dict[str, Any]) -> Texts:
    inputs: Texts = {}
    for group in ("required", "optional"):
        for name, (kind, options) in info["input"].get(group, {}).items():
            grown = options["template"]["names"] if kind == GROWING else []
            for input_name in [f"{name}.{each}" for each in grown] or [name]:
                label = options.get("display_name") or input_name.split(".")[-1]
                inputs[input_name.replace(".", "_")] = _named(label, options["tooltip"])
    outputs = {}
    for number, kind in enumerate(info["output"]):
        name, tooltip = info["output_name"][number], info["output_tooltips"][number]
        outputs[str(number)] = _named(name if name != kind else "", tooltip)
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": inputs,
        "outputs": outputs,
    }


def _named(name: str, tooltip: str) -> Texts:
    return ({"name": name} if name else {}) | {"tooltip": tooltip}


def main() -> None:
    """Write the English file."""
    try:
        host = find_host()
    except NoHostError as error:
        sys.exit(str(error))
    with tempfile.TemporaryDirectory() as base, ComfyServer(host, Path(base)) as server:
        texts = english(server)
    file = LOCALES / "en" / "nodeDefs.json"
    file.write_text(json.dumps(texts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {file}")


if __name__ == "__main__":
    main()
