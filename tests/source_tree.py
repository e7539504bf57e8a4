"""A checkout as data: its packages, modules and imports, read without importing anything."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE_FOLDERS = ("link", "hdl", "gen", "sim", "boards", "host", "cli")


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module, by its full name. ``deferred``: inside a function, so not needed to import the importer."""

    name: str
    line: int
    deferred: bool


@dataclass(frozen=True)
class SourceTree:
    """The checkout at ``root``."""

    root: Path

    @cached_property
    def project(self) -> dict[str, Any]:
        """``pyproject.toml``."""
        return tomllib.loads((self.root / "pyproject.toml").read_text())

    @cached_property
    def folders(self) -> dict[str, Path]:
        """The folder of every package that ``pyproject.toml`` lists, by import name."""
        setuptools = self.project["tool"]["setuptools"]
        return {name: self.root / _folder(name, setuptools["package-dir"]) for name in setuptools["packages"]}

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The file of every module, packages included, by import name."""
        return {
            package if path.stem == "__init__" else f"{package}.{path.stem}": path
            for package, folder in self.folders.items()
            for path in sorted(folder.glob("*.py"))
        }

    def imports(self, module: str) -> Iterator[Import]:
        """All that ``module`` imports, in functions and for type checking as well."""
        parsed = ast.parse(self.modules[module].read_text())
        functions = (n for n in ast.walk(parsed) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        deferred = {id(inner) for function in functions for inner in ast.walk(function)}
        for node in ast.walk(parsed):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                # What is imported from a package may be a module of it or a name in it.
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                names = sorted({name if name in self.modules else node.module for name in full})
            else:
                continue
            yield from (Import(name=name, line=node.lineno, deferred=id(node) in deferred) for name in names)


def _folder(package: str, package_dir: dict[str, str]) -> Path:
    """Where setuptools looks for ``package``: below the folder of its nearest mapped parent."""
    parts = package.split(".")
    for count in range(len(parts), 0, -1):
        if mapped := package_dir.get(".".join(parts[:count])):
            return Path(mapped, *parts[count:])
    return Path(*parts)
