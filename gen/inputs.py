"""Samples of a network, checked against its inputs. A part of the driver too, so nothing here knows what runs them."""

from collections.abc import Mapping

import numpy as np

from heddle.errors import InputError
from heddle.gen.ir import Network, Tensor

Inputs = Mapping[str, np.ndarray] | np.ndarray
Outputs = np.ndarray | dict[str, np.ndarray]


def check_inputs(network: Network, inputs: Inputs) -> dict[str, np.ndarray]:
    """Return samples by input name, each ``(samples, height, width, channels)`` of its tensor's type.

    Raises
    ------
    InputError
        An input is missing or superfluous, or of another shape, type or range than the network's; or the inputs
        have different numbers of samples.
    """
    if not isinstance(inputs, Mapping):
        if len(network.inputs) != 1:
            raise InputError(
                f"one array given for {len(network.inputs)} inputs",
                where=network.name,
                remedy=f"pass a mapping with {', '.join(network.inputs)}",
            )
        inputs = {network.inputs[0]: inputs}
    if set(inputs) != set(network.inputs):
        raise InputError(
            f"inputs {', '.join(map(str, inputs))} given",
            where=network.name,
            remedy=f"pass exactly {', '.join(network.inputs)}",
        )
    checked = {name: _check_samples(network.tensors[name], inputs[name]) for name in network.inputs}
    if len(counts := {len(value) for value in checked.values()}) > 1:
        raise InputError(
            f"inputs of {sorted(counts)} samples", where=network.name, remedy="pass as many samples of each input"
        )
    return checked


def _check_samples(tensor: Tensor, samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples)
    where = f"input {tensor.name}"
    if samples.ndim == 0 or samples.shape[1:] != tensor.sample_shape:
        wanted = ", ".join(map(str, ("samples", *tensor.sample_shape)))
        raise InputError(f"shape {samples.shape}", where=where, remedy=f"pass an array of shape ({wanted})")
    if tensor.dtype == "float32":
        if samples.dtype.kind not in "fiu" or not np.isfinite(samples).all():
            raise InputError(
                f"{samples.dtype} values that are not finite numbers", where=where, remedy="pass finite float32 values"
            )
    else:
        info = np.iinfo(tensor.dtype)
        if samples.dtype.kind not in "iu":
            raise InputError(f"type {samples.dtype}", where=where, remedy=f"pass {tensor.dtype} values")
        if samples.size and not info.min <= samples.min() <= samples.max() <= info.max:
            raise InputError(
                f"values {samples.min()}..{samples.max()}", where=where, remedy=f"pass {info.min}..{info.max}"
            )
    return samples.astype(tensor.dtype).reshape(len(samples), *tensor.hwc)
