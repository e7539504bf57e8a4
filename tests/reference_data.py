"""Where the reference networks and samples lie, for the tests that use them; they are no part of this repository."""

import os
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared"
NETWORKS = {"ad": "ad_autoencoder", "ic": "ic_resnet8", "kws": "kws_dscnn", "vww": "vww_mobilenetv1"}


REQUIRED = "HEDDLE_REQUIRE_SHARED"
"""Where this variable is set, an absent file fails its test; `.ci/run` sets it if the folder is there."""


def network_path(key: str) -> Path:
    """Return the path of a reference network; skip the test where it is absent."""
    return _present(SHARED / "networks" / f"{NETWORKS[key]}.tflite")


def samples(key: str) -> dict[str, np.ndarray]:
    """Return the samples of a reference network and both references' outputs; skip the test where they are absent."""
    with np.load(_present(SHARED / "data" / f"{key}.npz")) as data:
        return dict(data)


def _present(path: Path) -> Path:
    if not path.exists():
        refuse = pytest.fail if os.environ.get(REQUIRED) else pytest.skip
        refuse(f"{path.name} is not here (expected beside the repository, in shared/{path.parent.name}/)")
    return path
