"""What a test does where something that it needs is not on the machine."""

import os
from typing import NoReturn

import pytest

SHARED, TOOLS = "HEDDLE_REQUIRE_SHARED", "HEDDLE_REQUIRE_TOOLS"
"""Where such a variable is set, what is absent fails its test; `.ci/run` sets both, the first where the folder is."""


def skip(reason: str, *, required: str) -> NoReturn:
    """Skip the test, or fail it where the variable ``required`` is set."""
    refuse = pytest.fail if os.environ.get(required) else pytest.skip
    refuse(reason)
