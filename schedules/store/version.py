"""The versions of the formats of files: the pack reads its own and all before it.

Every file that the pack writes says its format and version; the version covers all that is in the
file. What a newer version has written is refused with words of its own, and is not written over.
"""

from __future__ import annotations

__all__ = ["NewerVersionError", "check_version"]


class NewerVersionError(ValueError):
    """A file comes from a newer version of this pack."""


def check_version(written: object, known: int, oldest: int | None = None) -> None:
    """Raise ValueError, as the end of a sentence about the file, for a version that is not read.

    written: as the file has it, a number or its digits
    known:   the newest that is read
    oldest:  the first that is read; None: `known`
    """
    first = known if oldest is None else oldest
    version = written
    if isinstance(written, str) and written.isascii() and written.isdigit() and len(written) < 10:
        version = int(written)
    if version in range(first, known + 1):
        return
    if isinstance(version, int) and version > known:
        raise NewerVersionError(
            f"a newer version of this pack has written it (format version {version}, and this one "
            f"reads {known}): update the pack to use it"
        )
    versions = f"{known}" if first == known else f"{first} to {known}"
    raise ValueError(f"it does not say that it is of format version {versions}")
