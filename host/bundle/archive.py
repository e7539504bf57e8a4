"""Archives whose bytes depend on what is in them alone: zip files, and NumPy's ``.npz``, which is one."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file knows; every member has it."""
_MODE = 0o100644
_UNIX = 3
"""The system by whose rules :data:`_MODE` is read."""


def zip_bytes(members: Mapping[str, bytes]) -> bytes:
    """Return a zip file with ``members``, contents by path, in the order of their paths."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in sorted(members.items()):
            info = zipfile.ZipInfo(path, _EPOCH)
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, _UNIX, _MODE << 16
            archive.writestr(info, content)
    return out.getvalue()


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return an ``.npz`` with ``arrays`` by name, whatever their names: ``numpy.savez`` cannot take all."""
    members = {}
    for name, array in arrays.items():
        content = io.BytesIO()
        np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
        members[f"{name}.npy"] = content.getvalue()
    return zip_bytes(members)
