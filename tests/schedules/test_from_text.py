"""Levels as people write them down: what is sampled is what they wrote, and no level is lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
from align_your_steps.schedules.from_text import as_json
from align_your_steps.schedules.resample import at_steps
from align_your_steps.schedules.store.files import read_bytes
from align_your_steps.schedules.to_text import TOOLS, paste_text
from hypothesis import example, given
from hypothesis import strategies as st

LEVELS = (14.615, 6.475, 3.861, 0.399, 0.029, 0.0)
PLAIN = "14.615, 6.475, 3.861, 0.399, 0.029"


def read(text: str | bytes, file_name: str = "mine.txt") -> tuple[float, ...]:
    """The levels of an imported text."""
    data = text.encode() if isinstance(text, str) else text
    return read_bytes(data, file_name)[0].schedule.levels


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"{PLAIN}, 0",
        f"{PLAIN}, 0.0",
        f"{PLAIN}, 0.0,",
        f"[{PLAIN}]",
        f"[{PLAIN}, 0.0]",
        f"({PLAIN})",
        f"  [{PLAIN}, 0]\r\n",
        PLAIN.replace(", ", " "),
        PLAIN.replace(", ", "\n") + "\n0\n",
        PLAIN.replace(", ", ";"),
        PLAIN.replace(", ", ",\n"),
        PLAIN.replace(", ", "\t"),
        f"sigmas=[{PLAIN}]",
        f"sigmas = [{PLAIN}, 0.0]",
        f"sigmas: [{PLAIN}]",
        f'"sigmas": [{PLAIN}],',
        f"sigmas = torch.tensor([{PLAIN}, 0.0])",
        f"sigmas = np.array([{PLAIN}], dtype=np.float32)",
        f"tensor: no, but sigmas=({PLAIN})",
        f"image = pipe(prompt, num_inference_steps=6, sigmas=[{PLAIN}, 0.0]).images[0]",
        f"pipe(prompt, timesteps=None, sigmas=[{PLAIN}])",
        "1.4615e1, 6.475, 3.861, 3.99e-1, 2.9E-02, 0e0",
        "+14.615, 6.475, 3.861, .399, .029, 0.",
        b"\xef\xbb\xbf" + PLAIN.encode(),
        f'{{"sigmas": [{PLAIN}]}}',
    ],
    ids=lambda text: f"{text!r}"[:50],
)
def test_every_way_to_write_them_down_gives_these_levels(text: str | bytes) -> None:
    assert read(text) == LEVELS
    assert read(text, "mine.json") == LEVELS


def test_the_name_is_that_of_the_file_and_the_model_nobodys() -> None:
    saved, suffix = read_bytes(PLAIN.encode(), "my levels.txt")
    assert (saved.schedule.name, suffix, saved.identity) == ("my levels", ".json", None)
    assert saved.notes["flow"] is False
    assert read_bytes(b"[1.0, 0.9, 0.3]", "x")[0].notes["flow"] is True


sigmas = st.lists(st.floats(2.0**-40, 2.0**12, width=32), min_size=1, max_size=12, unique=True)


SAMPLERS = [None, "euler", "dpmpp_2m", "heun", "uni_pc"]


@given(
    sigmas.map(lambda x: [*sorted(x, reverse=True), 0.0]),
    st.sampled_from(TOOLS),
    st.booleans(),
    st.sampled_from(SAMPLERS),
)
@example([14.5, 1.5, 0.25, 0.0], "diffusers", False, "dpmpp_2m")
def test_what_we_copy_for_other_tools_comes_back_as_it_was(
    sigmas: list[float], tool: str, flow: bool, sampler: str | None
) -> None:
    text = paste_text(sigmas, tool, flow=flow, sampler=sampler)
    found = read_bytes(text.encode(), "copied.txt")[0].schedule
    assert np.float32(found.levels).tolist() == sigmas
    # At its own number of steps every level is sampled.
    assert np.float32(at_steps(found, len(sigmas) - 1, sigma_min=1e-3)).tolist() == sigmas


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "()",
        "7",
        "14.6; x; 0",
        "14.6,, 1.0, 0",
        "14.6, 1.0, nan",
        "14.6, inf, 0",
        "1e999, 1, 0",
        "[14.6, 1.0",
        "14.6, 1.0]",
        "[14.6, 1.0)",
        "[[14.6, 1.0, 0.0]]",
        "0x10, 1, 0",
        "14_6, 1, 0",
        "٣, ٢, ١",
        "1.2.3, 1, 0",
        "sigmas=[]",
        "sigmas=[14.6, 1.0",
        "sigmas=karras",
        "steps 14.6, 1.0, 0",
        "1, 2, 0",
        "2, 2, 0",
        "2, 1, -1",
        "2, 1, 0, 0",
        '{"sigmas": [14.6, 1.0',
        '{"name": "x"} sigmas=[14.6, 1.0]',
        "9" * 200 + ", 1, 0",
        "\0",
        "2, 1\0",
    ],
    ids=lambda text: f"{text!r}"[:30],
)
def test_what_is_no_list_of_levels_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^The file 'x\.txt' is not a schedule: .*\.$"):
        read(text, "x.txt")


@pytest.mark.parametrize("text", ["timesteps=[999, 850, 0]", "pipe(prompt, timesteps = (9, 1))"])
def test_timesteps_are_told_from_levels(text: str) -> None:
    with pytest.raises(ValueError, match="holds timesteps, but noise levels"):
        read(text)


@pytest.mark.parametrize(
    "data",
    [
        b" " * 2**21,
        b"," * 2**21,
        b"1" * 2**21,
        b"1 " * 2**20,
        b"[" * 2**21,
        b"sigmas=[" * 2**18,
        b"sigmas=" + b" " * 2**20,
        b"1" + b" " * 2**20 + b"x",
        b"1,2" * 2**19,
        b"sigmas=" + b"a." * 2**19 + b"(",
    ],
    ids=lambda data: f"{data[:12]!r} {len(data)}",
)
def test_long_texts_of_strangers_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is not a schedule"):
        read(data)


def test_too_many_levels_are_counted() -> None:
    with pytest.raises(ValueError, match="at most 10001 levels"):
        read(", ".join(map(str, range(30_000, -1, -1))))


def test_json_is_left_as_it_is() -> None:
    for content in ({"levels": [2, 1]}, {"sigmas": [2, 1]}, {"note": "sigmas=[9, 8]"}):
        data = json.dumps(content).encode()
        assert as_json(data) == data
