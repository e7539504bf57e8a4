"""What is written is true as far as a machine can tell: links, commands, docstrings, examples in docstrings."""

import ast
import doctest
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from source_tree import ROOT, SourceTree

TREE = SourceTree(ROOT)
LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
FENCE = re.compile(r"^```.*?^```", flags=re.MULTILINE | re.DOTALL)


def pages(root: Path) -> list[Path]:
    """Return the documentation: Markdown at the top, below ``docs`` and beside the examples."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "examples").rglob("*.md")])


def broken_links(root: Path) -> list[str]:
    """Return relative links to files that do not exist, or to headings that their page does not have."""
    problems = []
    for page in pages(root):
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            if not file.exists() or (anchor and anchor not in headings(file)):
                problems.append(f"{page.relative_to(root)}: {target}")
    return problems


def headings(page: Path) -> set[str]:
    """Return the anchors of a Markdown page, as code hosts derive them."""
    titles = re.findall(r"^#+ (.+?) *$", FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def unknown_make_targets(root: Path) -> list[str]:
    """Return commands ``make NAME`` in the documentation for which there is no target."""
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), flags=re.MULTILINE))
    return [
        f"{page.relative_to(root)}: make {name}"
        for page in pages(root)
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)
        if name not in targets
    ]


def modules_without_docstring(tree: SourceTree) -> list[str]:
    """Return modules that do not say what they are."""
    return [name for name, path in tree.modules.items() if not ast.get_docstring(ast.parse(path.read_text()))]


def failing_examples(module: ModuleType) -> Iterator[str]:
    """Yield the examples in the docstrings of ``module`` that do not give what they show."""
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False)
    for test in finder.find(module):
        if runner.run(test, out=lambda _: None).failed:
            yield test.name


def test_every_relative_link_leads_somewhere() -> None:
    assert broken_links(ROOT) == []


def test_every_make_command_in_the_documentation_exists() -> None:
    assert unknown_make_targets(ROOT) == []


def test_every_module_says_what_it_is() -> None:
    assert modules_without_docstring(TREE) == []


@pytest.mark.parametrize("name", [name for name in TREE.modules if not name.endswith("__main__")])
def test_the_examples_in_docstrings_give_what_they_show(name: str) -> None:
    assert list(failing_examples(importlib.import_module(name))) == []


def test_broken_links_and_unknown_commands_are_found(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("demo: build\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.md").write_text(
        "# One heading: `x`\n\n[up](../README.md) [here](#one-heading-x) [gone](gone.md)\n"
    )
    (tmp_path / "README.md").write_text(
        "[a](docs/page.md#one-heading-x) [b](docs/page.md#two) [c](https://x.org)\n`make demo` `make tea`\n"
    )
    assert broken_links(tmp_path) == ["README.md: docs/page.md#two", "docs/page.md: gone.md"]
    assert unknown_make_targets(tmp_path) == ["README.md: make tea"]


def test_a_module_without_docstring_is_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.setuptools]\npackages = ["p"]\n[tool.setuptools.package-dir]\np = "source"\n'
    )
    (tmp_path / "source").mkdir()
    (tmp_path / "source/__init__.py").write_text('"""Says what it is."""\n')
    (tmp_path / "source/silent.py").write_text("X = 1\n")
    assert modules_without_docstring(SourceTree(tmp_path)) == ["p.silent"]


def test_an_example_that_gives_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("planted", ">>> 1 + 1\n3\n")
    monkeypatch.setitem(sys.modules, "planted", module)
    assert list(failing_examples(module)) == ["planted"]


def test_recorded_results_and_nothing_else_are_in_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that are made anew are those committed: no figure is written by hand, none is forgotten."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    tables = importlib.import_module("tables")
    page, readme = tmp_path / "performance.md", tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text())
    tables.write_tables(ROOT / "bench" / "results", page, readme)
    assert page.read_text() == (ROOT / "docs" / "performance.md").read_text()
    assert readme.read_text() == (ROOT / "README.md").read_text()
    assert (tmp_path / "latency.svg").read_text().startswith("<?xml")
