"""Where the tests take their ComfyUI from."""

from __future__ import annotations

from pathlib import Path

import pytest
from align_your_steps.tests.host import get_host
from align_your_steps.tests.host.get_host import NoHostError, find_host


def make_host(folder: Path) -> Path:
    """A folder that looks like a ComfyUI."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    return folder


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A repository inside some ComfyUI's custom_nodes, which is no ComfyUI yet."""
    folder = tmp_path / "ComfyUI" / "custom_nodes" / "pack"
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(get_host, "REPOSITORY", folder)
    monkeypatch.setattr(get_host, "FETCHED", folder / ".host" / "comfyui")
    return folder


def test_given_path_comes_before_all(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_host(repository.parents[1])
    make_host(repository / ".host" / "comfyui")
    given = make_host(tmp_path / "given")
    monkeypatch.setenv("COMFYUI_PATH", str(given))
    assert find_host() == given


def test_comfyui_around_the_pack_comes_before_a_fetched_one(repository: Path) -> None:
    fetched = make_host(repository / ".host" / "comfyui")
    assert find_host() == fetched
    around = make_host(repository.parents[1])
    assert find_host() == around


def test_wrong_path_is_an_error_even_where_another_host_is(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_host(repository / ".host" / "comfyui")
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nothing here"))
    with pytest.raises(NoHostError, match="nothing here"):
        find_host()


def test_no_host_is_an_error_that_says_what_to_do(repository: Path) -> None:
    with pytest.raises(NoHostError, match=r"make host.*COMFYUI_PATH.*AYS_NO_HOST"):
        find_host()
