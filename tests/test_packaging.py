"""The wheel is whole, the stages import in one direction, and nothing depends on one machine.

Each rule is a function from a checkout to the lines that break it, seen to find a violation planted in a copy.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from source_tree import ROOT, SOURCE_FOLDERS, SourceTree

import heddle

STAGES = ("errors", "link", "hdl", "boards", "gen", "sim", "host", "cli")
"""Each imports itself and what stands left of it."""
SEES_ALL = ("heddle", "heddle.__main__", "heddle.gen.api")
TEXT_SUFFIXES = (".py", ".md", ".toml", ".yaml", ".v", ".html")
MACHINE_PATH = re.compile(r"(?<![\w.\-/])/(?:work|farm|home|root|Users|opt|mnt|srv|tmp)/\w")


def unlisted_packages(tree: SourceTree) -> list[str]:
    """Return source folders with modules that ``pyproject.toml`` does not list, and listed ones without."""
    found = {path.parent for folder in SOURCE_FOLDERS for path in (tree.root / folder).rglob("*.py")}
    listed = set(tree.folders.values())
    return sorted(
        [f"{folder.relative_to(tree.root)}: not in [tool.setuptools] packages" for folder in found - listed]
        + [f"{folder.relative_to(tree.root)}: listed, but without modules" for folder in listed - found]
    )


def missing_from_wheel(tree: SourceTree, wheel: Path) -> list[str]:
    """Return source files, whatever their kind, that ``wheel`` does not hold."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = set()
    for package, folder in tree.folders.items():
        # A sub-folder that is no package holds data: templates, simulation models.
        data = [path for path in folder.iterdir() if path.is_dir() and path not in _code_folders(tree)]
        files = [path for path in folder.iterdir() if path.is_file()]
        files += [path for sub in data for path in sub.rglob("*") if path.is_file()]
        inside = package.replace(".", "/")
        expected |= {f"{inside}/{path.relative_to(folder).as_posix()}" for path in files if path.suffix != ".pyc"}
    return sorted(expected - names)


def _code_folders(tree: SourceTree) -> set[Path]:
    return {*tree.folders.values(), *(folder / "__pycache__" for folder in tree.folders.values())}


def imports_against_the_order(tree: SourceTree) -> list[str]:
    """Return imports of a later stage, and of the modules above all stages."""
    problems = []
    for module in tree.modules:
        if module in SEES_ALL or _stage(module) == len(STAGES) - 1:
            continue
        for imported in tree.imports(module):
            if imported.name.split(".")[0] != "heddle":
                continue
            if imported.name in SEES_ALL or _stage(imported.name) > _stage(module):
                problems.append(f"{module}:{imported.line} imports {imported.name}")
    return problems


def _stage(module: str) -> int:
    return STAGES.index(module.split(".")[1])


def undeclared_imports(tree: SourceTree) -> list[str]:
    """Return imports of distributions that ``pyproject.toml`` does not make sure of.

    An optional dependency serves the simulation, or the function that imports it when it is called.
    """
    project = tree.project["project"]
    always = {_distribution(requirement) for requirement in project["dependencies"]}
    extras = {_distribution(line) for lines in project["optional-dependencies"].values() for line in lines}
    providers = importlib.metadata.packages_distributions()
    problems = []
    for module in tree.modules:
        for imported in tree.imports(module):
            top = imported.name.split(".")[0]
            if top == "heddle" or top in sys.stdlib_module_names:
                continue
            allowed = always | extras if imported.deferred or module.startswith("heddle.sim") else always
            if not allowed & {_distribution(name) for name in providers.get(top, [top])}:
                problems.append(f"{module}:{imported.line} imports {top}")
    return problems


def _distribution(requirement: str) -> str:
    """Return the normalized name in a requirement such as ``amaranth[builtin-yosys]>=0.5``."""
    name = re.match(r"[\w.\-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def postponed_annotations(tree: SourceTree) -> list[str]:
    """Return hardware modules whose components would lose their ports."""
    return [
        module
        for module in tree.modules
        if module.startswith("heddle.hdl") and any(i.name == "__future__" for i in tree.imports(module))
    ]


def machine_paths(tree: SourceTree) -> list[str]:
    """Return lines that name a folder of one machine."""
    files = [tree.root / "Makefile", *(path for path in (tree.root / ".ci").iterdir())]
    folders = [*SOURCE_FOLDERS, "tests", "examples", "bench", "docs"]
    files += [path for folder in folders for path in (tree.root / folder).rglob("*") if path.suffix in TEXT_SUFFIXES]
    files += [path for path in tree.root.iterdir() if path.suffix in TEXT_SUFFIXES]
    return [
        f"{path.relative_to(tree.root)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]


def second_versions(tree: SourceTree) -> list[str]:
    """Return lines of source that repeat the version in ``pyproject.toml``."""
    version = re.compile(rf"(?<![\d.]){re.escape(tree.project['project']['version'])}(?![\d.])")
    return [
        f"{module}:{number}"
        for module, path in tree.modules.items()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if version.search(line)
    ]


def copy_of_checkout(to: Path) -> Path:
    """Copy what is built and checked; planted faults and setuptools' leavings stay out of the checkout."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*SOURCE_FOLDERS, ".ci", "tests", "examples", "bench", "docs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file() and (path.suffix in TEXT_SUFFIXES or path.name in ("Makefile", "LICENSE", "NOTICE")):
            shutil.copy(path, to)
    return to


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from a copy of this checkout."""
    source = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    return build_wheel(source)


def build_wheel(source: Path) -> Path:
    out = source / "build" / "wheel"
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


RULES: list[Callable[[SourceTree], list[str]]] = [
    unlisted_packages,
    imports_against_the_order,
    undeclared_imports,
    postponed_annotations,
    machine_paths,
    second_versions,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_checkout_keeps_the_rule(rule: Callable[[SourceTree], list[str]]) -> None:
    assert rule(SourceTree(ROOT)) == []


PLANTED = [
    (unlisted_packages, "gen/extra/module.py", "", "gen/extra"),
    (imports_against_the_order, "hdl/planted.py", "from heddle.gen.ir import Node", "heddle.gen.ir"),
    (imports_against_the_order, "boards/planted.py", "def f():\n    import heddle.sim", "heddle.sim"),
    (imports_against_the_order, "gen/planted.py", "from heddle import cli", "heddle.cli"),
    (undeclared_imports, "gen/planted.py", "import pytest", "pytest"),
    (undeclared_imports, "gen/planted.py", "import cocotb", "cocotb"),
    (postponed_annotations, "hdl/planted.py", "from __future__ import annotations", "heddle.hdl.planted"),
    (machine_paths, "sim/planted.py", f"PATH = '/{'home'}/someone/heddle'", "sim/planted.py:1"),
    (second_versions, "gen/planted.py", "VERSION = '{version}'", "heddle.gen.planted:1"),
]


@pytest.mark.parametrize(("rule", "file", "text", "named"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_violation_is_found(
    rule: Callable[[SourceTree], list[str]], file: str, text: str, named: str, tmp_path: Path
) -> None:
    copy = copy_of_checkout(tmp_path)
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text(text.format(version=SourceTree(ROOT).project["project"]["version"]) + "\n")
    (problem,) = rule(SourceTree(copy))
    assert named in problem


def test_an_optional_dependency_may_be_imported_when_it_is_used(tmp_path: Path) -> None:
    copy = copy_of_checkout(tmp_path)
    (copy / "gen/planted.py").write_text("def f():\n    import cocotb\n")
    assert undeclared_imports(SourceTree(copy)) == []


def test_the_wheel_holds_every_module_template_and_model(wheel: Path) -> None:
    assert missing_from_wheel(SourceTree(ROOT), wheel) == []
    assert "heddle/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_a_file_that_the_wheel_lacks_is_found(wheel: Path, tmp_path: Path) -> None:
    copy = copy_of_checkout(tmp_path)
    (copy / "sim/models/planted.txt").write_text("no pattern of package-data takes this\n")
    assert missing_from_wheel(SourceTree(copy), wheel) == ["heddle/sim/models/planted.txt"]


def test_the_wheel_holds_nothing_but_heddle_and_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    info = f"heddle_fpga-{heddle_version()}.dist-info"
    assert {name.split("/")[0] for name in names} == {"heddle", info}
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= set(names)


def heddle_version() -> str:
    return SourceTree(ROOT).project["project"]["version"]


def test_the_installed_version_is_that_of_the_project() -> None:
    assert heddle.__version__ == importlib.metadata.version("heddle-fpga") == heddle_version()


def test_the_changelog_opens_with_this_version_or_what_comes_next() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == heddle_version()


def test_the_command_starts() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="heddle")
    assert callable(command.load())


def test_the_package_under_test_is_the_one_meant() -> None:
    """``make wheel`` names the folder of the wheel; otherwise the source folders are under test."""
    assert heddle.__file__
    meant = os.environ.get("HEDDLE_UNDER_TEST", ROOT / "gen")
    assert Path(heddle.__file__).resolve().is_relative_to(Path(meant).resolve())
