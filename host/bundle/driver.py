"""The Python driver without the rest of Heddle: the very modules that run here, as a package of another name.

What goes along is what :data:`ENTRY` imports, and what that imports, and so on: nothing is listed by hand, and nothing
stands in the repository twice. Imports for type checking only do not count, nor are they followed.
"""

import ast
from collections.abc import Iterator
from importlib.abc import InspectLoader
from importlib.util import find_spec

PACKAGE = "heddle_driver"
ENTRY = "heddle.host.standalone"
_OPEN = "heddle.host.api"
_ROOT = "heddle"

_INIT = f'''"""Drives the accelerator that this package came with; made from Heddle's own modules.

>>> with heddle_driver.open("/dev/ttyUSB0", ".") as accelerator:  # doctest: +SKIP
...     y = accelerator.predict(x)
"""

from {PACKAGE}.host.api import open

__all__ = ["open"]
'''
_MAIN = f'''"""``python -m {PACKAGE}``: predict, and compare with the test vectors."""

import sys

from {PACKAGE}.host.standalone import main

sys.exit(main())
'''


def driver_package() -> dict[str, bytes]:
    """Return the driver's files, contents by path."""
    sources, waiting = {}, [ENTRY, _OPEN]
    while waiting:
        module = waiting.pop()
        if module in sources or module == _ROOT:
            continue
        path, text = _read(module)
        sources[module] = (path, text)
        # A package is imported before what is in it.
        waiting += [module.rpartition(".")[0], *(name for name in imports(text) if _is_ours(name))]
    package = {path: _renamed(text) for path, text in sources.values()}
    package |= {f"{PACKAGE}/__init__.py": _INIT, f"{PACKAGE}/__main__.py": _MAIN}
    return {path: text.encode() for path, text in sorted(package.items())}


def imports(text: str) -> Iterator[str]:
    """Yield the modules that a module imports when it runs, in functions too."""
    for node in _import_statements(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            # What is imported from a package may be a module of it or a name in it.
            yield from (name if _is_ours(name) and _exists(name) else node.module for name in inner)


def _import_statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _import_statements(ast.Module([other], []))
        else:
            yield from _import_statements(node)


def _renamed(text: str) -> str:
    """Return ``text`` with imports from the other package; all else stays, so that lines are those of Heddle."""
    lines = text.splitlines(keepends=True)
    for node in _import_statements(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if any(map(_is_ours, names)):
            first = node.lineno - 1
            lines[first] = lines[first].replace(_ROOT, PACKAGE, 1)
    return "".join(lines)


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == _ROOT


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # Its parent is a module and no package: a name in it.
        return False


def _read(module: str) -> tuple[str, str]:
    """Return where a module goes, and its text."""
    spec = find_spec(module)
    assert spec is not None
    assert isinstance(spec.loader, InspectLoader)
    text = spec.loader.get_source(module)
    assert text is not None
    inside = module.replace(".", "/").replace(_ROOT, PACKAGE, 1)
    return (f"{inside}.py" if spec.submodule_search_locations is None else f"{inside}/__init__.py"), text
