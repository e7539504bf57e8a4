"""What all tests share: their order, and randomness that is the same on every run."""

from pathlib import Path

import pytest
from dead_channels import MODULE
from hypothesis import settings
from random_networks import Builder

pytest_plugins = ["bundles"]

# No deadline: other processes on the machine must not fail a test.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the fast tests first, each kind in the order of its files."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for tests of the group "virtual board", which so build one simulation."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def b() -> Builder:
    """What a test builds a network of random weights with."""
    return Builder(5)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a test writes a pruned network file; the folder holds nothing else."""
    return tmp_path / "pruned.tflite"


@pytest.fixture
def cheap_rectangles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rectangles cost nothing: test networks are too small for them to pay."""
    monkeypatch.setattr(MODULE, "RECTANGLE_MACS", 0)
