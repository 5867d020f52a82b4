"""Small disks for tests: they can be filled, made read-only and taken away while a server runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

__all__ = ["Disk", "NoDiskError"]

SIZE = 16 * 2**20  # bytes
FILLING = "filling"


class NoDiskError(RuntimeError):
    """This machine mounts nothing for the user of the tests."""


class Disk:
    """A disk of its own in a folder, in memory, while it is entered.

    Only root may mount one, or a user whom sudo asks nothing. Raises NoDiskError for others.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Disk:
        self.folder.mkdir(parents=True, exist_ok=True)
        owner = f"size={SIZE},mode=755,uid={os.getuid()},gid={os.getgid()}"
        self._as_root("mount", "-t", "tmpfs", "-o", owner, "tmpfs", str(self.folder))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._as_root("umount", "--lazy", str(self.folder))

    def fill(self) -> None:
        """Leave not one byte."""
        with (self.folder / FILLING).open("ab", buffering=0) as file:
            for size in (2**16, 1):
                try:
                    while file.write(bytes(size)) > 0:
                        pass
                except OSError:
                    continue

    def lock(self) -> None:
        """Let nothing be written."""
        self._as_root("mount", "-o", "remount,ro", str(self.folder))

    def free(self) -> None:
        """Undo `fill` and `lock`."""
        self._as_root("mount", "-o", "remount,rw", str(self.folder))
        (self.folder / FILLING).unlink(missing_ok=True)

    @staticmethod
    def _as_root(*command: str) -> None:
        sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        try:
            subprocess.run([*sudo, *command], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise NoDiskError(f"{' '.join(command)}: {said.strip()}") from error
