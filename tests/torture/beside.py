"""A second server beside a running one: the same packs, schedules and user, as on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from align_your_steps.tests.host.server import ComfyServer

__all__ = ["Beside"]


class Beside(ComfyServer):
    """A host on the base directory of another; pictures and the host's own database are apart."""

    def __init__(self, first: ComfyServer) -> None:
        self.own = first.base / "beside"
        self.own.mkdir(exist_ok=True)
        apart = ["--temp-directory", str(self.own), "--output-directory", str(self.own / "output")]
        database = ["--database-url", f"sqlite:///{self.own / 'host.db'}"]
        super().__init__(first.host, first.base, arguments=[*first.arguments, *apart, *database])

    def _install(self, packs: Sequence[Path]) -> None:
        """Everything is there."""

    @property
    def _log_file(self) -> Path:
        return self.own / f"host-{self._starts}.log"

    def output(self, filename: str, subfolder: str = "") -> Path:
        """Path of a file in the output folder."""
        return self.own / "output" / subfolder / filename
