"""The command, run as a program in a Python that cannot import ComfyUI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from align_your_steps.profiles import MeasuredProfile, merge
from align_your_steps.profiles.command import main
from align_your_steps.schedules import SavedSchedule, Store
from align_your_steps.schedules.store.json_file import to_json_bytes
from align_your_steps.schedules.store.saved_schedule import read_saved, to_bytes
from align_your_steps.tests.profiles.made import saved
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = ("__init__.py", "merge_profiles.py", "nodes", "optimizer", "profiles", "schedules")
# Of ComfyUI and what it brings beyond torch, numpy, scipy and safetensors.
HOST = ("aiohttp", "comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "server")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where two machines' results lie."""
    for seed in (1, 2):
        write(tmp_path, f"machine {seed}", saved(seed, 4))
    return tmp_path


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a copy of the pack, in a folder whose name is no Python name."""
    pack = tmp_path_factory.mktemp("custom nodes") / "align-your-steps 2"
    for name in SHIPPED:
        place = REPOSITORY / name
        pack.mkdir(exist_ok=True)
        if place.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "optimized")
            shutil.copytree(place, pack / name, ignore=ignored)
        else:
            shutil.copy(place, pack)
    return pack / "merge_profiles.py"


@pytest.fixture
def refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return what the command says of arguments that it refuses, without a Python of its own."""
    monkeypatch.chdir(folder)

    def answer(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, "")
        return said.err

    return answer


def write(folder: Path, name: str, result: SavedSchedule) -> Path:
    path = folder / f"{name}.safetensors"
    path.write_bytes(to_bytes(result))
    return path


def run(
    program: list[str], folder: Path, *arguments: str, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder; whatever it imports of the host is an error."""
    (folder / "stubs").mkdir(exist_ok=True)
    for name in HOST:
        stub = folder / "stubs" / f"{name}.py"
        stub.write_text(f"raise SystemExit('{name} was imported')\n", encoding="utf-8")
    places = os.pathsep.join(filter(None, [str(folder / "stubs"), path]))
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"stubs"}


TWO = ("machine 1.safetensors", "machine 2.safetensors", "-o", "merged.safetensors")


def test_two_files_become_one_that_comfyui_lists(script: Path, folder: Path) -> None:
    done = run([str(script)], folder, *TWO, "--name", "from the farm")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Merged 2 profiles of one model: 8 samples."
    assert lines[2].startswith("'machine 1.safetensors': 4 samples (seed 1), KLUB ")
    assert lines[4].startswith("together: 8 samples (seeds 1, 2), KLUB ")
    assert lines[-1] == "Written as 'from the farm' to 'merged.safetensors'."
    assert files(folder) == {"machine 1.safetensors", "machine 2.safetensors", "merged.safetensors"}

    expected = merge([MeasuredProfile.of(saved(seed, 4), "") for seed in (1, 2)], "").whole
    read = read_saved(folder / "merged.safetensors", with_tensors=True)
    assert MeasuredProfile.of(read, "").profile.digest == expected.profile.digest
    assert "from the farm" in Store([folder]).list()
    # Another reader of the format than ours.
    grams = load_file(folder / "merged.safetensors")["profile.grams"]
    assert torch.equal(grams, expected.profile.grams.float())

    write(folder, "machine 3", saved(3, 2))
    more = ("merged.safetensors", "machine 3.safetensors", "-o", "all.safetensors")
    again = run([str(script)], folder, *more)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("Merged 2 profiles of one model: 10 samples.")
    assert read_saved(folder / "all.safetensors", with_tensors=False).schedule.name == "all"


def test_a_name_that_the_console_lacks_is_written_out(
    script: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1251:strict")
    monkeypatch.setenv("PYTHONUTF8", "1")  # of the arguments
    done = subprocess.run(
        [sys.executable, str(script), *TWO, "--name", "Имя 語"],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Written as 'Имя \\u8a9e' to" in done.stdout.decode("cp1251")
    assert "Имя 語" in Store([folder]).list()


def test_the_module_is_the_same_command(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "align_your_steps").symlink_to(REPOSITORY)
    program = ["-m", "align_your_steps.merge_profiles"]
    done = run(program, folder, *TWO, path=str(package))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Merged 2 profiles of one model: 8 samples.")


def test_the_help_says_what_to_do_with_the_file(script: Path, folder: Path) -> None:
    done = run([str(script)], folder, "--help")
    assert done.returncode == 0
    assert "Merge AYS Profiles" in done.stdout and "Optimize AYS" in done.stdout
    assert done.stdout.startswith("usage: merge_profiles.py ")


def test_a_refusal_is_one_line_and_no_traceback(script: Path, folder: Path) -> None:
    write(folder, "machine 2", saved(2, 4, identity="another model"))
    done = run([str(script)], folder, *TWO)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("merge_profiles.py: 'machine 1.safetensors' and 'machine 2.safetensors'")


def test_prompts_that_another_gpu_has_rounded_need_a_word(
    script: Path, folder: Path, refused: Callable[..., str]
) -> None:
    write(folder, "machine 2", saved(2, 4, guidance="the same prompt, rounded"))
    assert "have different prompts" in refused(*TWO)
    assert run([str(script)], folder, *TWO, "--same-prompts").returncode == 0


def prepare_refusals(folder: Path) -> None:
    """Files that cannot be merged with machine 1's."""
    write(folder, "other model", saved(2, 4, identity="another model"))
    write(folder, "same seed", saved(1, 4))
    write(folder, "no profile", replace(saved(2), tensors={}))
    (folder / "shared.json").write_bytes(to_json_bytes(saved(2)))
    whole = (folder / "machine 2.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-9])
    newer = whole.replace(b'"version":"1"', b'"version":"3"')
    assert newer != whole
    (folder / "newer.safetensors").write_bytes(newer)
    (folder / "pickle.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n(S'touch pwned'\ntR.")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("other model.safetensors", "are of different models: only profiles of one model"),
        ("same seed.safetensors", "(seed 1), so it adds nothing: measure with another seed"),
        ("no profile.safetensors", "'no profile.safetensors' holds no profile"),
        ("shared.json", "'shared.json' cannot be merged: "),
        ("cut.safetensors", "get it again."),
        ("newer.safetensors", "a newer version of this pack has written it"),
        ("pickle.safetensors", "'pickle.safetensors' cannot be merged: "),
        ("no such file.safetensors", "'no such file.safetensors' cannot be merged: No such file"),
        ("stubs", "'stubs' cannot be merged: "),
    ],
)
def test_what_cannot_be_merged_is_said_in_a_sentence_and_writes_nothing(
    folder: Path, refused: Callable[..., str], second: str, said: str
) -> None:
    prepare_refusals(folder)
    before = files(folder)
    (line,) = refused(TWO[0], second, "-o", "merged.safetensors").splitlines()
    assert said in line and line.endswith(".")
    assert files(folder) == before


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("machine 1.safetensors", "is there already: give another name"),
        ("merged", "end its name in .safetensors"),
        ("nowhere/merged.safetensors", "does not exist: make it first"),
    ],
)
def test_the_output_is_never_written_over_anything(
    folder: Path, refused: Callable[..., str], output: str, said: str
) -> None:
    before = (folder / "machine 1.safetensors").read_bytes()
    assert said in refused(*TWO[:2], "-o", output)
    assert (folder / "machine 1.safetensors").read_bytes() == before


def test_one_file_and_no_output_are_refused(folder: Path, refused: Callable[..., str]) -> None:
    assert "give two or more profiles" in refused(TWO[0], "-o", "merged.safetensors")
    assert "-o" in refused(*TWO[:2])
