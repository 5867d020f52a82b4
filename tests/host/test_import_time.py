"""What the host imports when it loads the pack: the pack, and nothing heavy besides."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from align_your_steps.tests.host.server import EMPTY_PACK, IMPORT_METER, OUR_PACK, ComfyServer


def test_the_host_imports_nothing_with_the_pack_but_the_standard_library(
    new_server: Callable[..., ComfyServer],
) -> None:
    server = new_server(packs=(IMPORT_METER, OUR_PACK, EMPTY_PACK))
    lines = [json.loads(line) for line in server.output("imports.jsonl").open()]
    ours, empty = lines
    assert ours["loaded"] and empty["loaded"]
    assert len(ours["modules"]) > 50, "the meter sees what the pack imports"
    others = {name.split(".")[0] for name in ours["modules"] if "align-your-steps" not in name}
    assert others <= sys.stdlib_module_names
    assert 0.0 < empty["seconds"] < ours["seconds"]
