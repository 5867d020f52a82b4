"""The harness itself: the host runs, and the test pack's models are what they claim to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.tests.host.graphs import PREDICTIONS, ksampler_graph, model_graph
from align_your_steps.tests.host.server import (
    OUR_PACK,
    PEER_PACK,
    TEST_PACK,
    ComfyServer,
    Graph,
    HostError,
    PromptError,
)
from PIL import Image
from torch import Tensor

PEER_NAMES = {"ays", "ays+", "ays_30", "ays_30+", "gits", "beta_1_1"}


def levels_of(server: ComfyServer, graph: Graph) -> list[float]:
    """Four steps of the host's own `simple` schedule: levels that the model really sees."""
    inputs = {"model": ["model", 0], "scheduler": "simple", "steps": 4, "denoise": 1.0}
    graph = {
        **graph,
        "levels": {"class_type": "BasicScheduler", "inputs": inputs},
        "show": {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["levels", 0]}},
    }
    sigmas: list[float] = server.run(graph)["outputs"]["show"]["sigmas"]
    return sigmas


def denoised(server: ComfyServer, graph: Graph, level: float, cfg: float) -> Tensor:
    """One Euler step from a level to zero, which is the guided D itself."""
    graph = {
        **graph,
        "levels": {"class_type": "AYSTestSigmas", "inputs": {"levels": f"{level!r}, 0"}},
        "euler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "sample": {
            "class_type": "SamplerCustom",
            "inputs": {
                "model": ["model", 0],
                "add_noise": True,
                "noise_seed": 5,
                "cfg": cfg,
                "positive": ["positive", 0],
                "negative": ["negative", 0],
                "sampler": ["euler", 0],
                "sigmas": ["levels", 0],
                "latent_image": ["latent", 0],
            },
        },
        "save": {
            "class_type": "SaveLatent",
            "inputs": {"samples": ["sample", 0], "filename_prefix": "harness"},
        },
    }
    return server.latent(server.run(graph), "save")


def expected(prediction: str, level: float, cfg: float) -> Tensor:
    """The same D from the mixture's formula, for the noise that the host draws."""
    mixture = Mixture.random(64, 8, seed=7)
    noise = torch.randn(1, 64, generator=torch.Generator().manual_seed(5))
    # An empty latent at level s is s·noise, for flow models too; those are scaled to x_0 + σ e.
    keep = 1 - level if prediction == "flow" else 1.0
    x, sigma = level * noise / keep, torch.tensor([level / keep])
    label_3 = torch.tensor([[0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0]])
    uncond = mixture.denoise(x, sigma)
    return (uncond + cfg * (mixture.denoise(x, sigma, label_3) - uncond)).reshape(1, 1, 8, 8)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize(
    "prediction, shift", [("eps", 1.0), ("v", 1.0), ("edm", 1.0), ("flow", 1.0), ("flow", 3.0)]
)
def test_model_returns_the_ideal_denoiser(
    server: ComfyServer, prediction: str, shift: float, cfg: float
) -> None:
    graph = model_graph(prediction, shift)
    levels = levels_of(server, graph)
    assert levels[-1] == 0
    for level in levels[1:-1]:
        actual = denoised(server, graph, level, cfg)
        torch.testing.assert_close(actual, expected(prediction, level, cfg), atol=1e-4, rtol=1e-4)


def test_patched_weight_scales_the_data(server: ComfyServer) -> None:
    graph = model_graph("edm")
    plain = denoised(server, graph, 1.0, 1.0)
    graph["unpatched"] = graph["model"]
    graph["model"] = {
        "class_type": "AYSTestPatch",
        "inputs": {"model": ["unpatched", 0], "strength": 1.0},
    }
    # The noise is the same, so level 2 of data twice as large is level 1 of the data, doubled.
    torch.testing.assert_close(denoised(server, graph, 2.0, 1.0), 2 * plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ksampler_ends_on_the_data(server: ComfyServer, prediction: str) -> None:
    latent = server.latent(server.run(ksampler_graph(prediction)), "save")
    assert latent.shape == (1, 1, 8, 8)
    means = Mixture.random(64, 8, seed=7).means
    nearest = torch.cdist(latent.reshape(1, 64).double(), means).min()
    # The means are some 11 apart, and samples of a component some 0.2 · 8 from its mean.
    assert nearest < 3.2


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ksampler_runs_the_digits_network(server: ComfyServer, prediction: str) -> None:
    latent = server.latent(server.run(ksampler_graph(prediction, denoiser="digits")), "save")
    assert latent.shape == (1, 1, 8, 8)
    assert latent.isfinite().all()
    assert 0.3 < latent.std() < 2.0  # the data's own is about 1


@pytest.mark.parametrize("prediction", ["eps", "flow"])
def test_ksampler_paints_an_emoji(server: ComfyServer, prediction: str) -> None:
    graph = ksampler_graph(prediction, denoiser="emoji")
    graph["positive"]["inputs"]["label"] = 0  # a face
    graph["latent"]["inputs"] |= {"width": 256, "height": 256}
    graph["sample"]["inputs"] |= {"cfg": 3.0}
    graph["vae"] = {"class_type": "AYSTestEmojiVAE", "inputs": {}}
    decoded = {"samples": ["sample", 0], "vae": ["vae", 0]}
    graph["decoded"] = {"class_type": "VAEDecode", "inputs": decoded}
    graph["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["decoded", 0]}}
    entry = server.run(graph)
    latent = server.latent(entry, "save")
    assert latent.shape == (1, 3, 32, 32)
    assert latent.std() > 0.3
    (shown,) = entry["outputs"]["shown"]["images"]
    with Image.open(server.base / shown["type"] / shown["subfolder"] / shown["filename"]) as file:
        picture = file.convert("HSV")
    assert picture.size == (256, 256)
    # A yellow face on a pale ground.
    corners = [picture.getpixel(at)[1] for at in ((2, 2), (253, 2), (2, 253))]
    hue, saturation, _ = picture.getpixel((128, 128))
    assert max(corners) < 100 < saturation and 25 < hue < 45


def test_recorded_levels_are_those_of_the_sampler(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    graph = ksampler_graph("edm")
    graph["recorded"] = {
        "class_type": "AYSTestRecord",
        "inputs": {"model": ["model", 0], "label": "here"},
    }
    graph["sample"]["inputs"] |= {"model": ["recorded", 0], "steps": 4}
    server.run(graph)
    (line,) = server.get("/ays_test/sigmas")
    assert line["label"] == "here"
    assert line["sigmas"] == levels_of(server, model_graph("edm"))


def test_calls_of_the_network_are_counted(server: ComfyServer) -> None:
    graph = ksampler_graph("edm")
    graph["sample"]["inputs"] |= {"steps": 6, "cfg": 2.0, "seed": 11}
    server.get("/ays_test/reset")
    server.run(graph)
    assert server.get("/ays_test/calls")["rows"] == 12  # with guidance, two rows a step


def test_interrupt_stops_a_slow_prompt_and_leaves_the_host_answering(server: ComfyServer) -> None:
    graph = ksampler_graph("edm")
    graph["sample"]["inputs"] |= {"steps": 1000, "seed": 12}
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=100")
    prompt_id = server.queue(graph)
    server.until(lambda: server.get("/ays_test/calls")["calls"] > 0)
    server.interrupt()
    messages = [kind for kind, _ in server.wait(prompt_id)["status"]["messages"]]
    assert "execution_interrupted" in messages
    assert server.get("/ays_test/calls")["calls"] < 1000
    server.get("/ays_test/reset")
    server.run(ksampler_graph("edm"))


def test_refused_graph_is_reported_and_leaves_the_host_answering(server: ComfyServer) -> None:
    graph = ksampler_graph("eps")
    graph["sample"]["inputs"]["sampler_name"] = "no such sampler"
    with pytest.raises(PromptError, match="no such sampler"):
        server.queue(graph)
    (error,) = server.refusal(graph)["node_errors"]["sample"]["errors"]
    assert error["type"] == "value_not_in_list"
    server.run(ksampler_graph("eps"))


def test_restart_keeps_what_was_written(new_server: Callable[..., ComfyServer]) -> None:
    own = new_server(packs=[TEST_PACK])
    entry = own.run(ksampler_graph("eps"))
    before = own.latent(entry, "save")
    own.restart()
    assert own.get("/ays_test/calls") == {"calls": 0, "rows": 0}
    assert own.get("/history") == {}
    torch.testing.assert_close(own.latent(entry, "save"), before)


def test_host_that_does_not_start_is_reported_with_its_log(host_path: Path, tmp_path: Path) -> None:
    broken = ComfyServer(host_path, tmp_path, packs=[TEST_PACK], arguments=["--no-such-option"])
    with pytest.raises(HostError, match="no-such-option"):
        broken.start()


def test_script_runs_with_the_modules_of_the_host(
    run_in_host: Callable[..., str], host_path: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, comfy.cli_args\n"
        "comfy.cli_args.args.cpu = True\n"
        "import comfy.samplers\n"
        "print(comfy.samplers.__file__, *sys.argv[1:])\n",
        encoding="utf-8",
    )
    expected_path = host_path / "comfy" / "samplers.py"
    assert run_in_host(script, "one", "two").strip() == f"{expected_path} one two"


def test_failing_node_is_reported_with_its_message(server: ComfyServer) -> None:
    graph = {
        "levels": {"class_type": "AYSTestSigmas", "inputs": {"levels": "one, 0"}},
        "show": {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["levels", 0]}},
    }
    with pytest.raises(PromptError, match=r"AYSTestSigmas.*could not convert string"):
        server.run(graph)


@pytest.mark.parametrize(
    "packs",
    [(OUR_PACK, PEER_PACK, TEST_PACK), (PEER_PACK, OUR_PACK, TEST_PACK)],
    ids=["ours first", "peer first"],
)
def test_peer_pack_loads_beside_ours(
    new_server: Callable[..., ComfyServer], packs: tuple[Any, ...]
) -> None:
    peer_server = new_server(packs=packs)
    assert "IMPORT FAILED" not in peer_server.log
    for node in ("KSampler", "BasicScheduler"):
        assert {*PEER_NAMES, "ays_model"} <= set(peer_server.choices(node, "scheduler"))
