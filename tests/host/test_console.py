"""The pack's log lines on the consoles of Windows, whose encodings lack most scripts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from align_your_steps.tests.host.graphs import optimize_graph, scheduler_graph
from align_your_steps.tests.host.server import ComfyServer, PromptError

NAME = "Имя é 語 × ±"
WRITTEN = {
    "cp1252": r"\u0418\u043c\u044f é \u8a9e × ±",
    "cp1251": r"Имя \xe9 \u8a9e \xd7 ±",
}


@pytest.mark.parametrize("encoding", WRITTEN)
def test_every_line_is_printed(
    new_server: Callable[..., ComfyServer], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    server = new_server()
    folder = server.base / "user" / "ays_schedules"
    folder.mkdir(parents=True)
    (folder / f"{NAME}.json").write_text("[]", encoding="utf-8")  # skipped, and told
    server.post("/ays/schedules/import?filename=x.json", {"name": NAME, "sigmas": [9, 1, 0]})
    server.run(scheduler_graph(schedule=NAME, steps=2))
    server.run(scheduler_graph(schedule=f"not {NAME}", steps=2))
    server.run(optimize_graph(name=f"my {NAME}"))
    server.run(scheduler_graph(steps=5))
    with pytest.raises(PromptError, match="another name"):
        server.run(optimize_graph(name="karras"))
    log = server._log_file.read_bytes().decode(encoding)
    name = WRITTEN[encoding]
    for words in (
        f"Skipped the schedule file {folder / name}.json: ",
        f"Schedule chosen: saved: {name}, of another model",
        f"There is no schedule 'not {name}' on this machine",
        f"auto: saved for this model: my {name} (measured for dpmpp_2m, ",
        "5 steps, cfg 3, latent 1x8x8)",
    ):
        assert words in log
    assert "Logging error" not in log
    assert "UnicodeEncodeError" not in log
