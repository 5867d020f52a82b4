"""The archive that the registry would get: checked and packed by comfy-cli, never published.

As a script, `python -m align_your_steps.tests.host.archive FOLDER` writes it to a folder, and says
what comfy-cli said and how large it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# An environment of its own, made by the Makefile: comfy-cli brings 50 packages.
COMFY = REPOSITORY / ".venv" / "cli" / "bin" / "comfy"
PACKED = "node.zip"  # comfy-cli's own name for it

__all__ = ["ArchiveError", "can_make_archive", "make_archive", "validate"]


class ArchiveError(RuntimeError):
    """comfy-cli is not satisfied; the message holds what it said."""


def can_make_archive() -> str:
    """Empty if an archive can be made, else the reason why not."""
    if not COMFY.is_file():
        return "comfy-cli is not installed: run `make pack` or `make test`."
    asked = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"], cwd=REPOSITORY, capture_output=True, text=True
    )
    # Without git comfy-cli packs whatever lies in the folder, virtual environments included.
    if asked.returncode != 0 or Path(asked.stdout.strip()).resolve() != REPOSITORY:
        return "comfy-cli packs what git knows, and this folder is not a git repository."
    return ""


def validate() -> str:
    """Return what `comfy node validate` says about this repository.

    Raises ArchiveError for anything but a clean result: comfy-cli only warns of most things.
    """
    said = _comfy("validate")
    if "All validation checks passed" not in said or "warning" in said.lower():
        raise ArchiveError(said)
    return said


def make_archive(folder: Path) -> Path:
    """`comfy node pack`: the archive of the files that git knows, less those in `.comfyignore`."""
    said = _comfy("pack")
    if "not in a git repository" in said.lower():
        raise ArchiveError(said)
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(REPOSITORY / PACKED, folder / PACKED))


def _comfy(command: str) -> str:
    """Run `comfy node COMMAND` in the repository; nothing is asked, nothing is tracked."""
    done = subprocess.run(
        [COMFY, "--skip-prompt", "node", command],
        cwd=REPOSITORY,
        env={**os.environ, "DO_NOT_TRACK": "1", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise ArchiveError(said)
    return said


def main() -> None:
    """Validate and pack."""
    reason = can_make_archive()
    if reason:
        sys.exit(reason)
    print(validate().strip())
    archive = make_archive(Path(sys.argv[1]))
    with zipfile.ZipFile(archive) as packed:
        print("\n".join(packed.namelist()))
    print(f"{archive}: {archive.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
