"""The texts for people: short, every node with its help page, and what they name is there."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageSequence

REPOSITORY = Path(__file__).resolve().parents[1]
NODE_ID = re.compile(r'node_id="(\w+)"')
LINK = re.compile(r"""\]\(([^)#\s]+)|(?:src|href)="([^"#]+)""")
PLACE = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
LARGEST = {".png": 200_000, ".jpg": 200_000, ".gif": 2_000_000}  # bytes of a picture
README_WORDS, README_WITH_DIGITS = 1300, 0.04
HELP_WORDS = 400
PAGES = [
    REPOSITORY / "README.md",
    *(REPOSITORY / "docs").glob("*.md"),
    *(REPOSITORY / "web" / "docs").glob("**/*.md"),
]


def targets(page: Path) -> list[str]:
    """Return what a Markdown page links to or shows, beside addresses of the web."""
    found = [markdown or html for markdown, html in LINK.findall(page.read_text(encoding="utf-8"))]
    return [target for target in found if "://" not in target]


def words(page: Path) -> list[str]:
    """All that stands between spaces, marks of Markdown included."""
    return page.read_text(encoding="utf-8").split()


def anchors(page: Path) -> set[str]:
    """Names of a page's headings in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


def test_the_readme_is_short_and_has_few_numbers() -> None:
    found = words(REPOSITORY / "README.md")
    numbers = [word for word in found if any(letter.isdigit() for letter in word)]
    assert len(found) <= README_WORDS
    assert len(numbers) <= README_WITH_DIGITS * len(found), numbers


@pytest.mark.parametrize(
    "page", sorted((REPOSITORY / "web" / "docs").glob("*.md")), ids=lambda page: page.stem
)
def test_the_help_of_a_node_is_short_and_says_where_the_rest_is(page: Path) -> None:
    assert len(words(page)) <= HELP_WORDS
    for more in re.findall(r"`(docs/\S+)`", page.read_text(encoding="utf-8")):
        assert (REPOSITORY / more).is_file(), more


def test_the_line_to_copy_installs_what_is_required() -> None:
    required = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = " ".join(f'"{line}"' for line in required if re.match(r"\w", line))
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"\npython -m pip install {packages}\n" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    blocks = "\n".join(re.findall(r"^```$(.+?)^```$", text, re.M | re.S))
    made = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z- ]+)", blocks, re.M)
    assert {target for line in made for target in line.split()} <= targets
    for module in re.findall(r"-m align_your_steps\.([\w.]+)", text):
        path = REPOSITORY / module.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_headings_that_a_page_links_to_are_there(page: Path) -> None:
    for target, anchor in PLACE.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert anchor in anchors(page.parent / target if target else page), (target, anchor)


def test_every_node_has_a_help_page_with_a_picture_and_no_other_node_has() -> None:
    sources = (REPOSITORY / "nodes").glob("*.py")
    nodes = {name for path in sources for name in NODE_ID.findall(path.read_text(encoding="utf-8"))}
    pages = {path.stem: path for path in (REPOSITORY / "web" / "docs").glob("*.md")}
    assert len(nodes) == 6
    assert set(pages) == nodes
    for node, page in pages.items():
        assert f"img/{node}.png" in targets(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there_and_no_picture_is_large(page: Path) -> None:
    for target in targets(page):
        path = page.parent / target
        assert path.exists(), target
        if path.suffix in LARGEST:
            assert path.stat().st_size <= LARGEST[path.suffix], target


def test_the_moving_picture_moves_for_half_a_minute_at_most_and_repeats() -> None:
    with Image.open(REPOSITORY / "docs" / "img" / "moving.gif") as film:
        assert film.n_frames > 50
        assert film.info["loop"] == 0
        shown = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    assert 10_000 < sum(shown) <= 30_000


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    questions = {"What", "Whether", "Where", "Which", "How", "Who", "When"}
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [
        docstring.split()[0]
        for folder in ("nodes", "optimizer", "profiles", "schedules")
        for path in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, places) and (docstring := ast.get_docstring(node))
    ]
    assert len(first) > 1000
    assert sum(word in questions for word in first) <= 0.03 * len(first)


def constants(path: Path) -> Iterator[tuple[str, str]]:
    """The names that a module gives values to at its top, in capitals, and the values."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            (target,), value = node.targets, node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=True) if several else [(target, value)]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs = [(node.target, node.value)]
        else:
            continue
        yield from ((name.id, ast.unparse(v)) for name, v in pairs if isinstance(name, ast.Name))


def test_no_constant_has_two_values() -> None:
    values = defaultdict(set)
    for folder in ("nodes", "optimizer", "schedules"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for name, value in constants(path):
                if not name.startswith("_") and name != "log":
                    values[name].add(value)
    assert {name: found for name, found in values.items() if len(found) > 1} == {}
