"""Nothing that draws loses a result: notebooks, servers without a window, broken installations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.graphs import compare_graph, optimize_graph, plot_graph
from align_your_steps.tests.host.server import OUR_PACK, TEST_PACK, ComfyServer, Graph
from align_your_steps.tests.host.test_plots import picture_size

SCRIPT = Path(__file__).with_name("host_backends.py")
INLINE = "module://matplotlib_inline.backend_inline"
WORKS = [
    "nothing", "empty", "Colab", "Kaggle", "Jupyter", "a widget", "an editor", "no backend at all",
    "not installed", "a window", "as we draw", "another pack failed", "another pack has chosen",
]  # fmt: skip
BROKEN = {
    "missing": "is not installed: pip install matplotlib",
    "of another numpy": "ImportError: numpy.core.multiarray failed to import",
    "of another numpy 2": "AttributeError: _ARRAY_API not found",
    "no folder": "OSError: Matplotlib requires access to a writable cache",
    "half of it": "ImportError: DLL load failed",
    "a broken setting": "ValueError: Key backend: not valid",
    "no canvas": "MemoryError: no room for a picture",
    "no fonts": "ValueError: Failed to find font",
}


@pytest.fixture
def found(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return what the script has found."""
    return host_answer(SCRIPT)


def test_every_case_of_the_script_is_looked_at(found: dict[str, Any]) -> None:
    assert sorted(found) == sorted([*WORKS, *BROKEN])


@pytest.mark.parametrize("case", WORKS)
def test_pictures_are_the_same_whatever_the_backend(found: dict[str, Any], case: str) -> None:
    plain, drawn = found["nothing"], found[case]
    assert plain["plot"] is not None and plain["errors"] is not None
    assert [drawn[name] for name in ("plot", "errors", "names")] == [
        plain[name] for name in ("plot", "errors", "names")
    ]
    assert drawn["said"] == []


@pytest.mark.parametrize(
    ("case", "backend"),
    [
        ("Colab", INLINE),
        ("Jupyter", "inline"),
        ("no backend at all", "nonsense"),
        ("a window", "TkAgg"),
        ("empty", ""),
        ("nothing", None),
        ("a broken setting", INLINE),
    ],
)
def test_the_setting_is_left_to_other_packs(
    found: dict[str, Any], case: str, backend: str | None
) -> None:
    assert found[case]["backend"] == backend


def test_a_backend_that_is_installed_is_set_as_the_import_would_have_set_it(
    found: dict[str, Any],
) -> None:
    told = {
        case: found[case]["set"].lower() for case in ("a window", "not installed", "as we draw")
    }
    assert told == {"a window": "tkagg", "not installed": "qtagg", "as we draw": "agg"}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_drawn_is_said_and_costs_no_picture_of_a_model(
    found: dict[str, Any], case: str
) -> None:
    drawn = found[case]
    assert (drawn["plot"], drawn["errors"]) == (None, None)
    assert drawn["names"] == found["nothing"]["names"]
    assert all(BROKEN[case] in line for line in drawn["said"])
    assert len(drawn["said"]) == 3


# -- in a real server ----------------------------------------------------------------------------


def graphs() -> dict[str, Graph]:
    """Every node of ours that draws; a node of the host waits for the picture of Plot Sigmas."""
    plotted = plot_graph("14.6, 3, 0.5, 0")
    save = {"images": ["plot", 0], "filename_prefix": "plot"}
    plotted["save"] = {"class_type": "SaveImage", "inputs": save}
    return {
        "optimize": optimize_graph("eps", budget=400, name="drawn"),
        "compare": compare_graph(schedules="simple, karras", noises=2),
        "plot": plotted,
    }


def test_started_from_a_notebook_all_nodes_draw(
    new_server: Callable[..., ComfyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", INLINE)
    server = new_server()
    for node, graph in graphs().items():
        outputs = server.run(graph)["outputs"][node]
        assert len(outputs["images"]) == 1, node
    saved = server.get("/ays/schedules")["schedules"]
    assert [schedule["name"] for schedule in saved] == ["drawn"]
    width, _ = picture_size(server, server.run(plot_graph("10, 3, 0.5, 0")))
    assert width == 900


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.modules['matplotlib'] = None",
        "import matplotlib.style\n\n\ndef broken(*_, **__):\n    raise RuntimeError('broken')\n\n\n"
        "matplotlib.style.context = broken",
    ],
    ids=["missing", "broken"],
)
def test_without_matplotlib_every_result_is_there(
    new_server: Callable[..., ComfyServer], tmp_path: Path, source: str
) -> None:
    pack = tmp_path / "breaks_matplotlib"
    pack.mkdir()
    (pack / "__init__.py").write_text(f"{source}\n\nNODE_CLASS_MAPPINGS = {{}}\n", encoding="utf-8")
    server = new_server(packs=(OUR_PACK, TEST_PACK, pack))
    told = {node: server.run(graph)["outputs"] for node, graph in graphs().items()}
    assert "choose scheduler ays_model" in told["optimize"]["optimize"]["text"][0]
    assert "Closest to the image in many steps" in told["compare"]["compare"]["text"][0]
    (text,) = told["plot"]["plot"]["text"]
    assert text.startswith("There is no picture, because matplotlib is missing or broken")
    assert text.endswith("sigmas 1: 3 steps, 14.6 … 0.5, 0.")
    assert len(told["plot"]["save"]["images"]) == 1
    saved = server.get("/ays/schedules")["schedules"]
    assert [schedule["name"] for schedule in saved] == ["drawn"]
