"""Where the reference networks and samples lie, for the tests that use them; they are no part of this repository."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared"
NETWORKS = {"ad": "ad_autoencoder", "ic": "ic_resnet8", "kws": "kws_dscnn", "vww": "vww_mobilenetv1"}


def network_path(key: str) -> Path:
    """Return the path of a reference network; skip the test where it is absent."""
    path = SHARED / "networks" / f"{NETWORKS[key]}.tflite"
    if not path.exists():
        pytest.skip(f"the reference network {path.name} is not here (expected beside the repository, in shared/)")
    return path


def samples(key: str) -> dict[str, np.ndarray]:
    """Return the samples of a reference network and both references' outputs; skip the test where they are absent."""
    path = SHARED / "data" / f"{key}.npz"
    if not path.exists():
        pytest.skip(f"the samples {path.name} are not here (expected beside the repository, in shared/)")
    with np.load(path) as data:
        return dict(data)
