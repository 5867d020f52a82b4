"""The GPU figures: networks of full size, arithmetic and report, and rehearsals on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.benchmarks import gpu
from align_your_steps.benchmarks.gpu import BUDGET, figures, measured, report
from align_your_steps.benchmarks.gpu_bare import BARE_CALLS
from align_your_steps.benchmarks.gpu_cases import CASES, STEPS, TINY, Case, Taken
from align_your_steps.benchmarks.gpu_host import Host, optimise_graph, sample_graph
from align_your_steps.benchmarks.unet import LAST_GAIN, Guided, Sizes, UNet, random_network
from align_your_steps.optimizer import optimize
from align_your_steps.schedules import discrete_table
from align_your_steps.tests.host.server import Graph

GIB = 2**30
PUBLISHED = {"SD1.5": 859.5e6, "SDXL": 2567e6}  # parameters of the U-Nets
MISSING = ("matplotlib", "psutil", "scipy", "sklearn")  # where there is little but torch
CPU = torch.device("cpu")


# -- networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_networks_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        network = UNet(CASES[name].sizes)
    count = sum(weight.numel() for weight in network.parameters())
    assert count == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.full
@pytest.mark.host
@pytest.mark.parametrize("name", CASES)
def test_the_host_takes_the_weights_for_those_of_the_family(
    host_answer: Callable[..., dict[str, Any]], name: str
) -> None:
    script = Path(__file__).parents[1] / "host" / "host_full_size.py"
    found = host_answer(script)[CASES[name].family]
    assert found["kind"] == [CASES[name].kind, "EPS"]
    assert found["parameters"] == pytest.approx(PUBLISHED[name], rel=0.01)
    assert found["ours"] == found["its"] == []


@pytest.fixture(scope="module", params=TINY)
def tiny(request: pytest.FixtureRequest) -> tuple[Sizes, UNet]:
    """A tiny network of each kind, in single precision."""
    sizes = TINY[request.param].sizes
    return sizes, random_network(sizes, CPU, torch.float32)


def guided(tiny: tuple[Sizes, UNet], scale: float) -> Guided:
    sizes, network = tiny
    return Guided(network, sizes, discrete_table().sigmas, scale, tokens=5)


def noise(rows: int) -> torch.Tensor:
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_random_networks_are_the_same_for_a_seed(tiny: tuple[Sizes, UNet]) -> None:
    sizes, network = tiny
    again, other = (random_network(sizes, CPU, torch.float32, seed=seed) for seed in (0, 1))
    weights = [one.state_dict()["middle_block.0.in_layers.2.weight"] for one in (again, other)]
    mine = network.state_dict()["middle_block.0.in_layers.2.weight"]
    assert torch.equal(mine, weights[0])
    assert not torch.equal(mine, weights[1])


def test_the_network_sees_everything_it_is_told(tiny: tuple[Sizes, UNet]) -> None:
    sizes, network = tiny
    told = {"u": noise(2), "t": torch.tensor([10.0, 10.0]), "context": torch.randn(2, 5, 32)}
    if sizes.label is not None:
        told["label"] = torch.randn(2, sizes.label)
    before = network(**told)
    assert before.shape == (2, 4, 8, 8)
    assert 0.1 * LAST_GAIN < before.std() < 10.0 * LAST_GAIN
    for name, value in told.items():
        other = value.clone()
        other[1] = value[1] + 1.0 if name != "t" else 500.0
        after = network(**{**told, name: other})
        torch.testing.assert_close(after[0], before[0])
        assert (after[1] - before[1]).abs().max() > 1e-4, name


def test_rows_of_a_call_are_as_those_alone(tiny: tuple[Sizes, UNet]) -> None:
    denoise, x, levels = guided(tiny, 7.0), noise(3), torch.tensor([0.1, 1.0, 9.0])
    alone = torch.cat([denoise(x[k : k + 1], levels[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(denoise(x, levels), alone, rtol=1e-4, atol=1e-4)


def test_guidance_is_the_difference_of_two_prompts(tiny: tuple[Sizes, UNet]) -> None:
    x, levels = noise(2), torch.full((2,), 2.0)
    minus, plus, seven = (guided(tiny, scale)(x, levels) for scale in (0.0, 1.0, 7.0))
    assert (plus - minus).abs().max() > 1e-3
    torch.testing.assert_close(seven, minus + 7.0 * (plus - minus), rtol=1e-4, atol=1e-4)


def test_denoiser_is_near_that_of_unit_gaussian_data(tiny: tuple[Sizes, UNet]) -> None:
    for level in (0.03, 1.0, 14.0):
        x = (1.0 + level**2) ** 0.5 * noise(2)
        D = guided(tiny, 1.0)(x, torch.full((2,), level))
        rest = (D - x / (1.0 + level**2)) * (1.0 + level**2) ** 0.5 / level  # F
        assert 0.1 * LAST_GAIN < rest.std() < 10.0 * LAST_GAIN


# -- arithmetic -----------------------------------------------------------------------------


class Steady:
    """Takes ROW seconds a row and ONCE beside, in an optimisation; memory grows with the rows."""

    ROW, ONCE, ROWS = 0.5, 100.0, 4

    def __init__(self) -> None:
        self.done: list[str] = []

    def plain(self, latents: int) -> Taken:
        self.done.append(f"plain {latents}")
        rows = STEPS * latents
        return Taken(STEPS, rows, self.ROW * rows, (5 + latents) * GIB, (6 + latents) * GIB)

    def rows_a_call(self) -> int:
        self.done.append("rows")
        return self.ROWS

    def bare(self, latents: int) -> Taken:
        self.done.append(f"bare {latents}")
        return Taken(20, 20 * latents, self.ROW * 20 * latents)

    def optimise(self) -> Taken:
        self.done.append("optimise")
        rows = 100 * self.ROWS
        return Taken(100, rows, self.ROW * rows + self.ONCE, 10 * GIB, 12 * GIB)


def test_the_optimisation_stands_between_bare_calls_on_as_many_latents() -> None:
    stand = Steady()
    measured(CASES["SDXL"], stand)
    assert stand.done == ["plain 1", "rows", "plain 1", "bare 4", "optimise", "bare 4", "plain 4"]


def test_time_beside_the_calls_makes_the_speed_less() -> None:
    found = measured(CASES["SDXL"], Steady())
    assert found["bare_rate"] == 2.0
    assert found["inside_over_bare"] == pytest.approx(200.0 / 300.0)


def test_bare_speed_is_that_of_all_bare_rows() -> None:
    slow, fast = Taken(10, 40, 10.0), Taken(30, 120, 10.0)
    assert figures(Taken(10, 40, 5.0), [slow, fast])["bare_rate"] == 8.0


def test_the_default_budget_is_the_optimisers() -> None:
    assert signature(optimize).parameters["budget"].default == BUDGET


def recorded(**changed: Any) -> dict[str, Any]:
    machine = {"commit": "c" * 40, "changed": False, "cores": 2, "processor": "p", "torch": "t"}
    cases = [measured(case, Steady()) for case in CASES.values()]
    about = {"host": "0.3.75", "device": "A GPU", "dtype": "bfloat16", "rehearsal": False}
    return {"machine": machine, "command": "it", "budget": 4000, "cases": cases, **about, **changed}


def test_report_has_a_row_for_every_case_in_both_tables() -> None:
    text = report(recorded())
    assert "# An optimisation on a GPU\n" in text
    assert "A GPU, torch t, ComfyUI 0.3.75. Random weights, bfloat16;" in text
    for case in CASES.values():
        assert f"| {case.name} | 4 | 2.00 / 2.00 | 1.33 | 0.667 | 400 | 300.0 |" in text
        peaks = "6.00 (7.00) | 9.00 (10.00) | 10.00 (12.00) | +4.00 | +1.00 |"
        assert f"| {case.name} | {peaks}" in text


def test_report_of_a_rehearsal_says_so_first_and_has_no_memory_without_a_gpu() -> None:
    text = report(recorded(rehearsal=True, device=None, host=None))
    assert text.startswith("# A rehearsal with tiny networks: no figures of a GPU\n")
    assert "no GPU, 2 cores (p), torch t, without ComfyUI" in text
    assert "Memory" not in text


def test_prompts_ask_for_the_latents_of_the_case_and_differ_in_their_seed() -> None:
    for case in CASES.values():
        first, second = (sample_graph(case, 4, "euler", 5, seed) for seed in (1, 2))
        assert first != second
        optimise = optimise_graph(case, BUDGET, 0)
        for graph, batch in ((first, 4), (optimise, 1)):
            size = {"width": 8 * case.side, "height": 8 * case.side, "batch_size": batch}
            assert graph["latent"]["inputs"] == size
        assert optimise["optimize"]["inputs"]["budget"] == BUDGET


class Splitting:
    """A server that makes every step in two calls."""

    done = [["execution_start", {"timestamp": 0}], ["execution_success", {"timestamp": 1}]]  # noqa: RUF012

    def queue(self, graph: Graph) -> str:
        self.steps = graph["sample"]["inputs"]["steps"]
        return "prompt"

    def wait(self, prompt: str) -> dict[str, Any]:
        return {"status": {"messages": self.done}}

    def get(self, path: str) -> dict[str, Any]:
        memory = {"device": "A GPU", "allocated": 1, "reserved": 1}
        return {"calls": 2 * self.steps, "rows": 2 * self.steps, **memory} if self.steps else {}

    steps = 0


def test_a_host_that_splits_calls_for_lack_of_memory_is_refused() -> None:
    stand = object.__new__(Host)
    stand.case, stand.server, stand.seed, stand.poll = CASES["SDXL"], Splitting(), 0, 0.0
    with pytest.raises(RuntimeError, match="20 calls in 10 steps at a batch of 1 of SDXL"):
        stand.plain(1)


# -- runs -----------------------------------------------------------------------------------


def written(folder: Path) -> dict[str, Any]:
    """The results of a rehearsal, which are no figures by name, title and content."""
    assert sorted(path.name for path in folder.iterdir()) == [
        "gpu_rehearsal.json",
        "gpu_rehearsal.md",
    ]
    assert (folder / "gpu_rehearsal.md").read_text().startswith("# A rehearsal")
    found: dict[str, Any] = json.loads((folder / "gpu_rehearsal.json").read_text())
    assert found["rehearsal"] and found["device"] is None
    return found


def check(found: dict[str, Any], case: Case, budget: int) -> None:
    """The figures of a case are those of its runs."""
    assert found["name"] == case.name
    run, rows = found["optimised"], found["rows_a_call"]
    assert 0.7 * budget < run["rows"] <= budget
    assert run["rows"] <= rows * run["calls"]
    assert found["plain"]["rows"] == found["plain"]["calls"] == STEPS
    assert found["plain_as_many"]["rows"] == rows * STEPS
    assert all(one["rows"] == rows * one["calls"] > 0 for one in found["bare"])
    assert found["inside_rate"] == run["rows"] / run["seconds"]
    assert found["inside_over_bare"] == found["inside_rate"] / found["bare_rate"]
    assert 0.0 < found["inside_over_bare"] < 2.0
    assert run["allocated"] is run["reserved"] is None


@pytest.mark.full
def test_rehearsal_with_nothing_but_torch(tmp_path: Path) -> None:
    missing = ", ".join(f"{name}=None" for name in MISSING)
    code = (
        f"import sys; sys.modules.update({missing})\n"
        "from align_your_steps.benchmarks.gpu import main\n"
        "main(sys.argv[1:])"
    )
    arguments = ["--bare", "--tiny", "--device", "cpu", "--budget", "500", "--cases", "SDXL"]
    command = [sys.executable, "-c", code, *arguments, "--output", str(tmp_path)]
    subprocess.run(command, check=True)
    found = written(tmp_path)
    assert found["host"] is None
    (one,) = found["cases"]
    check(one, TINY["SDXL"], 500)
    assert [taken["calls"] for taken in one["bare"]] == [BARE_CALLS] * 2


@pytest.mark.host
def test_rehearsal_in_a_real_host(host_path: Path, tmp_path: Path) -> None:
    arguments = ["--tiny", "--device", "cpu", "--budget", "250", "--cases", "SD1.5"]
    gpu.main([*arguments, "--output", str(tmp_path)])
    found = written(tmp_path)
    assert found["host"]
    (one,) = found["cases"]
    check(one, TINY["SD1.5"], 250)


def test_without_a_gpu_nothing_is_measured_or_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--output", str(tmp_path)])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Nothing was measured: ")
    assert said.err.endswith(".\n") and ". " not in said.err  # one sentence
    assert list(tmp_path.iterdir()) == []


def test_full_networks_are_refused_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--device", "cpu"])
    assert ended.value.code == 2
    assert "--tiny" in capsys.readouterr().err


def test_rehearsals_are_only_printed_unless_a_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a rehearsal was kept")

    monkeypatch.setattr(gpu, "keep", never)
    monkeypatch.setattr(gpu, "measured", lambda case, stand: measured(case, Steady()))
    gpu.main(["--bare", "--tiny", "--device", "cpu"])
    assert "# A rehearsal" in capsys.readouterr().out
