"""Test vectors: samples, and what the golden model says of them, by name and as the accelerator's packets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from heddle.errors import InputError
from heddle.gen import golden
from heddle.gen.design import CoreDesign
from heddle.gen.inputs import Inputs, check_inputs
from heddle.gen.ir import Tensor
from heddle.gen.samples import EXPECTED, random_samples
from heddle.host.bundle.archive import npz_bytes

RANDOM_SAMPLES, SEED = 8, 1
"""Drawn over the whole range of each input, whatever else there is."""
GIVEN_SAMPLES = 8
"""Taken of the user's at most: a bundle is no data set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Samples and their outputs by name, ``(samples, *shape[1:])`` each; and as packets, a row of bytes a sample."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    packets_in: np.ndarray
    packets_out: np.ndarray

    @classmethod
    def of(cls, design: CoreDesign, given: Inputs | None = None) -> Self:
        """Return random samples for ``design``, and behind them the first of those ``given``.

        Raises
        ------
        InputError
            What is given does not match the network's inputs, or an input has the name of expected values.
        """
        network, part = design.network, design.host_part
        if taken := {EXPECTED + name for name in network.outputs} & set(network.inputs):
            raise InputError(
                f"an input is called {min(taken)!r}, as the expected values of an output are",
                where=network.name, remedy="rename the tensor in the network file",
            )  # fmt: skip
        inputs = dict(random_samples(network, RANDOM_SAMPLES, SEED).inputs)
        if given is not None:
            for name, value in check_inputs(network, given).items():
                own = value[:GIVEN_SAMPLES].reshape(-1, *network.tensors[name].sample_shape)
                inputs[name] = np.concatenate([inputs[name], own])
        values = golden.run(network, inputs)
        return cls(
            inputs=inputs,
            outputs={name: values[name] for name in network.outputs},
            packets_in=_packets(values, [network.tensors[name] for name in part.inputs]),
            packets_out=_packets(values, [network.tensors[name] for name in part.outputs]),
        )

    def __len__(self) -> int:
        return len(self.packets_in)

    def files(self) -> dict[str, bytes]:
        """Return them as files, contents by name."""
        expected = {EXPECTED + name: value for name, value in self.outputs.items()}
        return {
            "vectors.npz": npz_bytes({**self.inputs, **expected}),
            "inputs.bin": self.packets_in.tobytes(),
            "outputs.bin": self.packets_out.tobytes(),
        }


def _packets(values: Mapping[str, np.ndarray], tensors: list[Tensor]) -> np.ndarray:
    """Return the tensors' bytes, one tensor behind another."""
    return np.concatenate([values[t.name].reshape(-1, t.size).view(np.uint8) for t in tensors], axis=1)
