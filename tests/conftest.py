"""What all tests share: their order, and randomness that is the same on every run."""

import pytest
from hypothesis import settings

# No deadline: other processes on the machine must not fail a test.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the fast tests first, each kind in the order of its files."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
