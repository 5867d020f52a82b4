"""Draw icon.png and banner.png from the SVG files in media/: `make icons`.

The registry takes SVG too, but many places that show repository files do not draw it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from align_your_steps.tests.host.browser import ARGUMENTS
from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from playwright.sync_api import sync_playwright

MEDIA = Path(__file__).resolve().parents[2] / "media"
# Pixels: the registry asks for at most 400 x 400, and for a banner of 21:9.
SIZES = {"icon": (400, 400), "banner": (1260, 540)}


def main() -> None:
    """Draw every picture anew."""
    executable = find_browser()
    if executable is None:
        sys.exit(NO_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        for name, (width, height) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_content(f"<style>*{{margin: 0}}</style>{(MEDIA / f'{name}.svg').read_text()}")
            page.screenshot(path=MEDIA / f"{name}.png", omit_background=True)
        browser.close()


if __name__ == "__main__":
    main()
