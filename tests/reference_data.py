"""Where the reference networks and samples lie, for the tests that use them; they are no part of this repository."""

from pathlib import Path

import absent
import numpy as np

SHARED = Path(__file__).parents[2] / "shared"
NETWORKS = {"ad": "ad_autoencoder", "ic": "ic_resnet8", "kws": "kws_dscnn", "vww": "vww_mobilenetv1"}


def network_path(key: str) -> Path:
    """Return the path of a reference network; skip the test where it is absent."""
    return _present(SHARED / "networks" / f"{NETWORKS[key]}.tflite")


def samples(key: str) -> dict[str, np.ndarray]:
    """Return the samples of a reference network and both references' outputs; skip the test where they are absent."""
    with np.load(_present(SHARED / "data" / f"{key}.npz")) as data:
        return dict(data)


def _present(path: Path) -> Path:
    if not path.exists():
        where = f"shared/{path.parent.name}/"
        absent.skip(f"{path.name} is not here (expected beside the repository, in {where})", required=absent.SHARED)
    return path
