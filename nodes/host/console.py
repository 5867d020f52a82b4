"""Log lines that every console can print.

A Windows console may know a few hundred characters only (cp1252, cp1251), and names come in any
script. The host's handlers fail at the others and print a traceback in place of the line.
"""

from __future__ import annotations

import logging
import sys

from ...schedules import printable

__all__ = ["make_logs_printable"]


class _Printable(logging.Filter):
    """Write out what the console's encoding does not have; every line goes on."""

    def filter(self, record: logging.LogRecord) -> bool:
        encoding = getattr(sys.stderr, "encoding", None)
        record.msg, record.args = printable(record.getMessage(), encoding), None
        return True


def make_logs_printable() -> None:
    """Let no line of the pack fail at the console; once is enough."""
    log = logging.getLogger("align_your_steps")
    if not any(isinstance(known, _Printable) for known in log.filters):
        log.addFilter(_Printable())
