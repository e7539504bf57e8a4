"""What a design is, as data: for ``--json``, for ``manifest.json``, and for whatever drives the accelerator."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from heddle.boards import Board
from heddle.gen.choice import LayerChoice, layer_choices
from heddle.gen.design import CoreDesign, LayerReport
from heddle.gen.ir import Tensor
from heddle.gen.resources import Resources
from heddle.link.manifest import FORMAT


def summarize(design: CoreDesign) -> dict[str, object]:
    """Return a design's figures; ``macs_per_cycle`` is the array's peak, ``selection`` of layers with weights."""
    choices = {choice.name: choice for choice in layer_choices(design)}
    return {
        "name": design.name,
        "cycles": design.cycles,
        "macs": design.macs,
        "live_macs": design.live_macs,
        "macs_per_cycle": design.array.macs_per_cycle,
        "utilisation": round(design.utilisation, 6),
        "layers": [_layer(layer, design.array.macs_per_cycle, choices.get(layer.name)) for layer in design.layers],
    }


def manifest(
    design: CoreDesign,
    board: Board,
    resources: Resources,
    *,
    files: Mapping[str, Path],
    build: Mapping[str, object] | None = None,
    bundle: Mapping[str, object] | None = None,
    notes: tuple[str, ...] = (),
) -> dict[str, object]:
    """Return the manifest of an output folder.

    Parameters
    ----------
    files
        By role; each is named with its hash.
    build
        What a build reported, but for what differs from run to run.
    bundle
        The deploy bundle's name, and the hashes of the files that only it has.
    """
    network, array = design.network, design.array
    return {
        "format": FORMAT,
        "heddle": version("heddle-fpga"),
        "network": {"name": network.name, "sha256": network.sha256, "reference": network.reference},
        "board": {
            "name": board.name,
            "part": board.device.part,
            "device": board.device.name,
            "one_clock": board.one_clock,
        },
        "array": {**asdict(array), "requantizers": array.requantizers, "macs_per_cycle": array.macs_per_cycle},
        **summarize(design),
        "top": design.name,
        "inputs": [_tensor(network.tensors[name]) for name in network.inputs],
        "outputs": [_tensor(network.tensors[name]) for name in network.outputs],
        "streams": {
            "bytes": array.stream_bytes,
            "input_packets": [_packet(network.tensors[name]) for name in design.plan.inputs],
            "output_packets": [_packet(network.tensors[name]) for name in design.plan.outputs],
        },
        "host": design.host_part.to_json(),
        "resources": resources.to_json(),
        **({"build": dict(build)} if build else {}),
        **({"bundle": dict(bundle)} if bundle else {}),
        "notes": list(notes),
        "files": {role: {"name": path.name, "sha256": _sha256(path)} for role, path in sorted(files.items())},
    }


def _layer(layer: LayerReport, macs_per_cycle: int, choice: LayerChoice | None) -> dict[str, object]:
    return {
        "name": layer.name,
        "op": layer.op,
        "kind": layer.kind,
        "macs": layer.macs,
        "live_macs": layer.live_macs,
        "cycles": layer.cycles,
        "utilisation": round(layer.utilisation(macs_per_cycle), 6),
        "density": None if layer.density is None else round(layer.density, 6),
        "bubbles": layer.bubbles,
        "slices": layer.slices,
        **({"selection": choice.to_json()} if choice else {}),
    }


def _tensor(tensor: Tensor) -> dict[str, object]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        # float32 as in the file; its shortest decimal form reads back as the same number.
        "scale": float(tensor.scale),
        "zero_point": tensor.zero_point,
    }


def _packet(tensor: Tensor) -> dict[str, object]:
    """Describe a tensor as bytes on a stream: int8 in the order of ``layout`` (height, width, channels)."""
    return {**_tensor(tensor), "layout": list(tensor.hwc), "bytes": tensor.size}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
