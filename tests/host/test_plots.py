"""Plots: every text can be read, whatever is drawn; the node draws what is linked to it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.graphs import plot_graph
from align_your_steps.tests.host.server import ComfyServer, PromptError

SCRIPT = Path(__file__).with_name("host_plots.py")
SMALLEST_TEXT = 10.0  # pixels at the width of a node


@pytest.fixture
def found(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return what the script has found."""
    return host_answer(SCRIPT)


@pytest.fixture
def drawn(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every picture that matplotlib has drawn."""
    pictures = {f"{count} images": row for count, row in found["pictures"].items()}
    return {**found["plots"], **pictures}


def test_no_text_leaves_its_picture_or_touches_another(drawn: dict[str, dict[str, Any]]) -> None:
    assert len(drawn) > 30
    assert {name: plot["outside"] for name, plot in drawn.items() if plot["outside"]} == {}
    assert {name: plot["overlaps"] for name, plot in drawn.items() if plot["overlaps"]} == {}
    assert {name: plot["misjudged"] for name, plot in drawn.items() if plot["misjudged"]} == {}


def test_text_can_be_read_at_the_width_of_a_node(drawn: dict[str, dict[str, Any]]) -> None:
    for name, plot in drawn.items():
        assert plot["smallest"] > SMALLEST_TEXT - 0.05, name
        batch, height, width, channels = plot["shape"]
        assert (batch, channels) == (1, 3), name
        assert width >= 600, name
        assert height < 1.6 * width, name


def test_nothing_is_warned_of(drawn: dict[str, dict[str, Any]]) -> None:
    assert {name: plot["spoken"] for name, plot in drawn.items() if plot["spoken"]} == {}


def test_axes_are_labelled(found: dict[str, Any]) -> None:
    plots = found["plots"]
    texts = set(plots["3 curves"]["texts"])
    assert {"noise level (sigma), log scale", "step size: ln(sigma / next sigma)"} <= texts
    assert {"step", "final 0 not shown", "simple", "sgm_uniform", "karras"} <= texts
    flow = set(plots["flow"]["texts"])
    assert {"noise level (sigma)", "step size: sigma − next sigma", "shift 3"} <= flow
    assert "final 0 not shown" not in flow
    assert "error: distance to the image in many steps" in plots["errors of 5 curves"]["texts"]
    assert "6 others" in plots["one long name"]["texts"]


def test_names_are_no_formulas_and_are_told_apart(found: dict[str, Any]) -> None:
    texts = found["plots"]["strange names"]["texts"]
    assert "😀□ $x_1^2$" in texts  # matplotlib's own font has this emoji, and not the other
    assert {"_x $ (1)", "_x $ (2)", "two lines \\frac{"} <= set(texts)
    names = [text for text in found["plots"]["twelve long names"]["texts"] if "jugger" in text]
    assert len(set(names)) == 12
    short, first, second, wide = found["texts"]
    assert short == "a"
    assert first.endswith("(1)") and second.endswith("(2)")
    assert "…" in wide and len(wide) < 20


def test_errors_are_ranked_and_runs_that_diverged_come_last(found: dict[str, Any]) -> None:
    texts = found["plots"]["diverged"]["texts"]
    names = [text for text in texts if text in ("simple", "sgm_uniform", "karras")]
    assert names[0] == "sgm_uniform"
    assert texts.count("diverged") == 2
    assert "0.3 ± 0.1" in texts


def test_curves_differ_in_more_than_colour_and_stand_out(found: dict[str, Any]) -> None:
    background, text, faint = found["page"]
    styles = found["styles"]
    assert len({tuple(style) for style in styles}) == len(styles)
    assert len({tuple(style[1:]) for style in styles}) == len(styles)
    for colour in [style[0] for style in styles]:
        assert contrast(colour, background) > 3.0, colour
    assert contrast(text, background) > 7.0
    assert contrast(faint, background) > 4.5


def test_images_keep_their_pixels(found: dict[str, Any]) -> None:
    kept = {count: set(row["kept"]) for count, row in found["pictures"].items()}
    # Small ones are enlarged: 6 times and 36 times as wide.
    assert kept == {"1": {36.0}, "2": {1296.0}, "12": {1.0}}


def test_preview_is_small_and_shows_the_curve(found: dict[str, Any]) -> None:
    previews = found["preview"]
    assert previews.pop("no level") is None
    for name, preview in previews.items():
        assert preview["bytes"] < 20_000, name
        assert preview["blue"] > (100 if name != "1 step" else 10), name


def test_examples_of_the_nodes_give_what_they_print(found: dict[str, Any]) -> None:
    assert found["doctests"]["attempted"] > 5
    assert found["doctests"]["failed"] == 0


def test_text_under_a_node_is_sent_as_it_is(found: dict[str, Any]) -> None:
    assert found["sent"] == "<img src=x onerror=alert(1)> & 1 < 2\n2 > 1"  # shown as text


@pytest.mark.parametrize(
    "name", ["fine", "half precision", "rises", "zeros", "nan", "negative", "stops early"]
)
def test_linked_sigmas_are_taken_as_they_are(found: dict[str, Any], name: str) -> None:
    assert found["linked"][name]["sigmas 2"][0] == 3.0


@pytest.mark.parametrize(
    "name, words",
    [
        ("no level", "holds no noise level above 0"),
        ("empty", "holds no noise level above 0"),
        ("two dimensions", "not a list of noise levels"),
        ("a number", "not a list of noise levels"),
    ],
)
def test_what_holds_no_levels_is_refused_in_one_sentence(
    found: dict[str, Any], name: str, words: str
) -> None:
    answer = found["linked"][name]
    assert words in answer
    assert answer.count(".") == 1 and "\n" not in answer


def test_inputs_are_read_from_the_arguments_of_every_host(found: dict[str, Any]) -> None:
    assert list(found["linked"]["older host"]) == ["sigmas 1", "sigmas 3"]
    assert found["linked"]["nothing"] == found["linked"]["nothing on an older host"] == {}


# -- the node in a real server -------------------------------------------------------------------


def picture_size(server: ComfyServer, entry: dict[str, Any]) -> tuple[int, int]:
    """Width and height of the picture under the node."""
    (image,) = entry["outputs"]["plot"]["images"]
    header = (server.base / "temp" / image["filename"]).read_bytes()[:24]
    assert header[:4] == b"\x89PNG"
    return struct.unpack(">II", header[16:])


def test_plot_sigmas_shows_a_picture_and_a_line_about_each(server: ComfyServer) -> None:
    graph = plot_graph("14.6, 3, 0.5, 0", "", "10, 2, 4", "1, 0", labels="mine, 日本語")
    entry = server.run(graph)
    width, height = picture_size(server, entry)
    assert width == 900 and 600 < height < 800
    assert entry["outputs"]["plot"]["text"] == [
        "日本語 rises at step 2.\n"
        "mine: 3 steps, 14.6 … 0.5, 0.\n"
        "日本語: 2 steps, 10 … 4.\n"
        "sigmas 4: 1 step, 1 … 0."
    ]


def test_the_picture_is_an_image_for_other_nodes(server: ComfyServer) -> None:
    graph = plot_graph("14.6, 3, 0.5, 0")
    save = {"images": ["plot", 0], "filename_prefix": "plot"}
    graph["save"] = {"class_type": "SaveImage", "inputs": save}
    (saved,) = server.run(graph)["outputs"]["save"]["images"]
    assert server.output(saved["filename"]).stat().st_size > 5000


def test_what_cannot_be_drawn_gets_one_clear_sentence(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match="'sigmas 1' holds no noise level above 0"):
        server.run(plot_graph("0, nan"))
    with pytest.raises(PromptError, match="Required input is missing"):
        server.run(plot_graph("", "14.6, 1, 0"))


def test_plot_sigmas_takes_eight_schedules(server: ComfyServer) -> None:
    levels = [f"{8 + number}, 1, 0" for number in range(8)]
    (text,) = server.run(plot_graph(*levels))["outputs"]["plot"]["text"]
    assert [line.split(":")[0] for line in text.splitlines()] == [
        f"sigmas {number}" for number in range(1, 9)
    ]


def contrast(one: str, other: str) -> float:
    """Of two colours, as the Web Content Accessibility Guidelines define it: 1 to 21."""

    def luminance(colour: str) -> float:
        channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        linear = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
