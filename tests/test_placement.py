"""Feature maps that are alive together never overlap, and lie where their readers take the fewest steps."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from random_networks import Builder, random_array, random_file

from heddle.gen.importers import load
from heddle.gen.ir import Network, Window
from heddle.gen.kinds import Elementwise, Operation
from heddle.gen.operations import lower
from heddle.gen.placement import Layout, allocate, choose_layouts, paired, window_offsets


def placed(network: Network, *, banks: int, block: int) -> tuple[dict[str, Layout], int, tuple[Operation, ...]]:
    operations = lower(network).operations
    chosen = choose_layouts(network.tensors, operations, banks=banks, block=block)
    layouts, blocks = allocate(chosen, operations, banks=banks)
    return layouts, blocks, operations


def occupied(layout: Layout) -> set[int]:
    rows, cols = np.arange(layout.height)[:, None, None], np.arange(layout.width)[None, :, None]
    offsets = rows * layout.row_pitch + cols * layout.pixel_pitch + np.arange(layout.blocks)
    return set((layout.base + offsets).reshape(-1).tolist())


@pytest.mark.parametrize("seed", range(40))
def test_maps_that_are_alive_together_do_not_overlap(tmp_path, seed) -> None:
    array = random_array(seed)
    network = random_file(seed, layers=8, host=False).load(tmp_path)
    layouts, blocks, operations = placed(network, banks=array.rows, block=array.block)
    written = {op.dest: index for index, op in reversed(list(enumerate(operations))) if op.dest}
    read = {name: index for index, op in enumerate(operations) for name in (*op.sources, op.dest) if name}
    for layout in layouts.values():
        assert len(occupied(layout)) == layout.height * layout.width * layout.blocks
        assert occupied(layout) <= set(range(blocks))
    for one, other in combinations(layouts, 2):
        if written[one] <= read[other] and written[other] <= read[one]:
            assert not occupied(layouts[one]) & occupied(layouts[other]), f"{one} and {other}"


@pytest.mark.parametrize("seed", range(20))
def test_both_operands_of_a_sum_share_their_pitches(tmp_path, seed) -> None:
    network = random_file(seed, layers=8, host=False).load(tmp_path)
    layouts, _, operations = placed(network, banks=5, block=4)
    for op in operations:
        if isinstance(op, Elementwise) and op.second is not None:
            first, second = (layouts[name] for name in op.sources)
            assert (first.pixel_pitch, first.row_pitch) == (second.pixel_pitch, second.row_pitch)


@pytest.mark.parametrize("banks", [1, 2, 9])
def test_operands_of_a_sum_lie_in_neighbouring_banks(tmp_path, banks) -> None:
    b = Builder(3)
    x, y = b.activation((1, 5, 7, 8)), b.activation((1, 5, 7, 8))
    path = tmp_path / "sum.tflite"
    path.write_bytes(b.finish([x, y], [b.add(x, y)]))
    layouts, _, operations = placed(load(path), banks=banks, block=8)
    (op,) = (op for op in operations if isinstance(op, Elementwise))
    first, second = (layouts[name] for name in op.sources)
    assert paired(second.base - first.base, banks) == (banks > 1)


@pytest.mark.parametrize("banks", [3, 4, 8, 9])
@pytest.mark.parametrize("blocks", [1, 2, 3, 8])
def test_a_square_window_finds_its_blocks_evenly_in_all_banks(tmp_path, banks, blocks) -> None:
    network = convolution(tmp_path, channels=8 * blocks, kernel=(3, 3))
    layouts, _, _ = placed(network, banks=banks, block=8)
    offsets = window_offsets(Window(kernel=(3, 3)), layouts[network.inputs[0]], range(blocks))
    fullest = np.bincount(offsets.reshape(-1) % banks, minlength=banks).max()
    assert fullest == -(-9 * blocks // banks)


def test_memory_of_maps_that_are_done_is_used_again(tmp_path) -> None:
    b = Builder(1)
    x = y = b.activation((1, 8, 8, 8))
    for _ in range(6):
        y = b.conv_2d(y, cout=8, kernel=(1, 1))
    path = tmp_path / "chain.tflite"
    path.write_bytes(b.finish([x], [y]))
    layouts, blocks, _ = placed(load(path), banks=1, block=8)
    assert len(layouts) == 7
    assert blocks == 2 * 64


def convolution(folder: Path, *, channels: int, kernel: tuple[int, int]) -> Network:
    b = Builder(0)
    x = b.activation((1, 7, 6, channels))
    path = folder / "convolution.tflite"
    path.write_bytes(b.finish([x], [b.conv_2d(x, cout=8, kernel=kernel)]))
    return load(path)
