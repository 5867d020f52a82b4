"""Find a chromium for the tests, installing one where there is none.

It is looked for in this order:

1. the environment variable `AYS_CHROMIUM`;
2. the names of `NAMES` on PATH;
3. playwright's own download.

As a script, this file installs one where none is found: playwright's own download first, then, as
root on Debian and its kin, the distribution's package. Without any it says so, and goes on: the
browser tests are then left out, loudly.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache

__all__ = ["NO_BROWSER", "find_browser"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = (
    f"NOTHING WAS TESTED IN A BROWSER: neither AYS_CHROMIUM nor {', '.join(NAMES)} on PATH nor "
    "playwright's own download is a browser that starts. Run `make browser`, install one (Debian: "
    "apt-get install chromium), or set AYS_CHROMIUM to the path of yours."
)
# The fonts of the page, and characters of Chinese, Japanese and Korean: 4 MB.
PACKAGES = ["chromium", "fonts-liberation", "fonts-dejavu-core", "fonts-droid-fallback"]
DOWNLOAD_WITHIN = 600.0  # seconds
ASK_PLAYWRIGHT = (
    "from playwright.sync_api import sync_playwright\n"
    "with sync_playwright() as playwright: print(playwright.chromium.executable_path)"
)


@cache
def find_browser() -> str | None:
    """Path of the chromium to test with, without installing anything; None if there is none."""
    given = os.environ.get("AYS_CHROMIUM")
    for name in [given] if given else NAMES:
        path = shutil.which(name)
        if path is not None and _starts(path):
            return path
    if given:  # another one than the one asked for would be a surprise
        return None
    path = _of_playwright()
    return path if _starts(path) else None


def _starts(path: str) -> bool:
    """Tell whether a program starts: its libraries are there, and it is no advice to install it."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _of_playwright() -> str:
    """Return where playwright keeps its chromium, whether it is there or not.

    In a process of its own: a playwright that runs in this one already refuses a second.
    """
    command = [sys.executable, "-c", ASK_PLAYWRIGHT]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def install_browser() -> str | None:
    """Path of the chromium to test with, installed if need be; None if it cannot be had."""
    for step in (None, _download, _install_package):
        if step is not None and not os.environ.get("AYS_CHROMIUM"):
            step()
            find_browser.cache_clear()
        found = find_browser()
        if found is not None:
            return found
    return None


def _download() -> None:
    """Playwright's own chromium, for this user."""
    _run([sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"])


def _install_package() -> None:
    """The distribution's chromium, where it has apt-get and this is root."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return
    if _run(["apt-get", "-qq", "update"]):
        _run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *PACKAGES])


def _run(command: list[str]) -> bool:
    """Tell whether a command came to a good end in time; what it says goes to stderr."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("+", *command, file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command, stdout=sys.stderr, env=environment, timeout=DOWNLOAD_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"not done within {DOWNLOAD_WITHIN:g} s", file=sys.stderr)
        return False
    return done.returncode == 0


if __name__ == "__main__":
    print(install_browser() or f"\033[31m{NO_BROWSER}\033[0m")
