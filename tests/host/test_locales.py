"""Node texts in every language: none missing, none left over, and the page shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest
from align_your_steps.tests.host.browser import open_page
from align_your_steps.tests.host.locales import LANGUAGES, NODES, Texts, english, read_locale
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.host.ways import Way

TRANSLATIONS = [language for language in LANGUAGES if language != "en"]
# Labels that are the same in every language.
SAME = {"cfg", "vae", "VAE", "CLIP"}
SCRIPTS = {"zh": "[一-鿿]", "ja": "[ぁ-ヿ一-鿿]", "ko": "[가-힣]", "ru": "[а-яё]"}
# Names of programs, models and nodes, and what is written to be chosen or typed.
QUOTED = r"(?<!\w)'([^']+)'(?!\w)"
CAPITALS = r"\b(\w*[A-Z]\w*[A-Z]\w*?(?:\.\d)?)s?\b"  # KSampler, SDXL, SD1.5, the plural of LoRA
NAMES = re.compile(rf"{QUOTED}|{CAPITALS}|\b(\w+_\w+)\b|(\d+(?:\.\d+)?)")
ADD = """
type => {
  const node = LiteGraph.createNode(type);
  app.graph.clear();
  app.graph.add(node);
  app.canvas.centerOnNode(node);
  return String(node.id);
}
"""
# What a page says of a node: its title, the label of each input or widget, and of each output.
SHOWN = """
id => {
  const node = app.graph.getNodeById(id), widgets = node.widgets ?? [];
  const label = each => (widgets.find(widget => widget.name === each.name) ?? each).label
                        ?? each.localized_name;
  const labels = all => Object.fromEntries(all.map(each => [each.name, label(each)]));
  return [node.title, labels(node.inputs), labels(node.outputs)];
}
"""


@pytest.fixture(scope="module")
def schema(server: ComfyServer) -> Texts:
    """The English texts, as the host has them from the nodes."""
    return english(server)


def texts(tree: Texts, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text of a tree with its keys."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from texts(value, (*path, key))
        else:
            yield (*path, key), value


def test_the_english_texts_are_those_of_the_nodes(schema: Texts) -> None:
    assert read_locale("en") == schema, "run `make locales`, then translate what has changed"


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_no_text_is_missing_and_none_is_left_over(schema: Texts, language: str) -> None:
    assert {key for key, _ in texts(read_locale(language))} == {key for key, _ in texts(schema)}


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_every_text_is_in_its_language(language: str) -> None:
    written_in = re.compile(SCRIPTS[language], re.IGNORECASE)
    for key, text in texts(read_locale(language)):
        numbered_sigmas = language == "zh" and key[-1] == "name" and "sigmas" in key[-2]
        if text not in SAME and not numbered_sigmas:
            assert written_in.search(text), (key, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_holds_what_the_page_would_take_for_a_command(language: str) -> None:
    for key, text in texts(read_locale(language)):
        assert not set(text) & set("{}@|"), (key, text)
        assert text == text.strip() != "", key


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_names_and_numbers_are_kept(schema: Texts, language: str) -> None:
    translated = read_locale(language)
    titles = {schema[node]["display_name"]: translated[node]["display_name"] for node in NODES}
    for node in NODES:
        labels = {name: each["name"] for name, each in translated[node]["inputs"].items()}
        theirs = dict(texts(translated[node]))
        for key, text in texts(schema[node]):
            if key[-1] == "tooltip" or key[-1] == "description":
                for name in names_in(text, titles):
                    name = titles.get(name, labels.get(name, name))
                    assert name in theirs[key], (node, key, name)


def names_in(text: str, titles: Iterable[str]) -> Iterator[str]:
    """The names and numbers in an English text, the titles of nodes first."""
    for title in titles:
        if title in text:
            yield title
            text = text.replace(title, "")
    for found in NAMES.finditer(text):
        yield next(filter(None, found.groups()))


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_the_panel_speaks_the_language_too(schema: Texts, language: str) -> None:
    theirs = dict(texts(read_locale(language, "main")))
    titles = {
        schema[node]["display_name"]: text["display_name"]
        for node, text in read_locale(language).items()
    }
    ours = dict(texts(read_locale("en", "main")))
    assert theirs.keys() == ours.keys()
    for key, text in ours.items():
        assert set(re.findall(r"\{\w+\}", theirs[key])) == set(re.findall(r"\{\w+\}", text)), key
        for title in titles:
            assert title not in text or titles[title] in theirs[key], key


def test_labels_of_one_node_differ_from_each_other() -> None:
    for language in LANGUAGES:
        for node, tree in read_locale(language).items():
            labels = [each["name"] for each in tree["inputs"].values()]
            assert len(set(labels)) == len(labels), (language, node)


@pytest.mark.parametrize(
    "language",
    [
        "ru",  # the longest words
        "zh",
        pytest.param("ja", marks=pytest.mark.full),
        pytest.param("ko", marks=pytest.mark.full),
    ],
)
def test_the_page_shows_the_nodes_in_the_users_language(
    page_server: ComfyServer, way: Way, chromium: str, language: str
) -> None:
    server = page_server
    translated = read_locale(language)
    server.post("/settings", {"Comfy.Locale": language})
    try:
        with open_page(server, chromium, vue=way.vue) as page:
            fits = language != "ru" or page.can("room for the longest words")
            for node in NODES:
                number = page.page.evaluate(ADD, node)
                title, inputs, outputs = page.page.evaluate(SHOWN, number)
                theirs = translated[node]
                assert title == theirs["display_name"]
                for name, label in inputs.items():
                    text = theirs["inputs"][name.replace(".", "_")]["name"]
                    # Newer pages label a growing list themselves.
                    assert label == text or ("." in name and label == name.split(".")[-1])
                for place, (name, label) in enumerate(outputs.items()):
                    # The host itself knows the names of types.
                    assert label == theirs["outputs"][str(place)].get("name", label) != name
                assert not fits or not page.nodes.cut_texts(number)
            page.screenshot(f"nodes in {language} {way}")
    finally:
        server.post("/settings", {"Comfy.Locale": "en"})
