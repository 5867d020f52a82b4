"""The texts of the page extension: in every language, and each one used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LANGUAGES = ("en", "zh", "ja", "ko", "ru")


def texts(language: str) -> dict[str, str]:
    """Key -> text of the page extension."""
    path = REPOSITORY / "locales" / language / "main.json"
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["alignYourSteps"]
    return found


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_with_its_placeholders(language: str) -> None:
    wanted = {key: placeholders(text) for key, text in texts("en").items()}
    assert {key: placeholders(text) for key, text in texts(language).items()} == wanted
    assert all(text.strip() for text in texts(language).values())


def test_the_page_uses_every_text_and_no_other() -> None:
    files = (REPOSITORY / "web").rglob("*.js")
    source = "\n".join(path.read_text(encoding="utf-8") for path in files)
    # t("key"), and t(condition ? "key" : "other")
    used = {
        key
        for call in re.findall(r"\bt\(([^;\n]*)", source)
        for key in re.findall(r'"(\w+)"', call)
        if key in texts("en") or call.startswith(f'"{key}"')
    }
    assert used == set(texts("en"))
