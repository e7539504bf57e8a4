"""Runs a program in NumPy: the same records, tables and images as the hardware, the same integers, no cycles.

It checks the mapping without a simulator, and serves ``Design.predict``. It shares no code with the golden model.
"""

from collections.abc import Sequence

import numpy as np

from heddle.gen.images import Program
from heddle.hdl.program import Selection, SliceRecord, Unit, strides


class Emulator:
    """Executes a :class:`heddle.gen.images.Program` on a batch of samples.

    Parameters
    ----------
    program
        What the core runs.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.array = program.config.array
        self.memory = np.zeros((0, program.config.bank_words * self.array.rows, self.array.block), np.uint8)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return output packets, uint8 ``(samples, bytes)`` each, for input packets of that form.

        :attr:`memory` keeps the feature maps as the last slice left them: uint8 ``(samples, blocks, M)``.
        """
        self.memory = np.zeros((len(inputs[0]), *self.memory.shape[1:]), np.uint8)
        packets, outputs = iter(inputs), []
        for record in self.program.records:
            match record.unit:
                case Unit.LOAD:
                    self._write_bytes(record, next(packets))
                case Unit.STORE:
                    outputs.append(self._read_bytes(record))
                case Unit.RESHAPE:
                    self._write_bytes(record, self._read_bytes(record))
                case Unit.ARRAY:
                    self._array(record)
                case _:
                    self._vector(record)
        return outputs

    # --- moves ----------------------------------------------------------------------------------------------------

    def _bytes(
        self, base: int, jumps: tuple[int, ...], lasts: tuple[int, ...], tail: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the block and the byte of every element, in stream order."""
        m = self.array.block
        positions = _walk(base, jumps, lasts)
        per_pixel = np.repeat(positions.reshape(-1, lasts[0] + 1), m, axis=1)
        which = np.tile(np.arange(m), (per_pixel.shape[0], lasts[0] + 1))
        keep = slice(0, lasts[0] * m + tail + 1)
        return per_pixel[:, keep].reshape(-1), which[:, keep].reshape(-1)

    def _write_bytes(self, record: SliceRecord, packet: np.ndarray) -> None:
        at, which = self._bytes(record.dst_base, record.dst_jumps, record.dst_lasts, record.dst_tail)
        self.memory[:, at, which] = packet

    def _read_bytes(self, record: SliceRecord) -> np.ndarray:
        at, which = self._bytes(record.src_base, record.src_jumps, record.src_lasts, record.src_tail)
        return self.memory[:, at, which]

    # --- computation ----------------------------------------------------------------------------------------------

    def _windows(self, record: SliceRecord, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return origin (linear, of tile 0), row and column of every window, ``(rows * cols,)`` each."""
        stride = strides(record.src_jumps, record.src_lasts)
        x, y = np.meshgrid(np.arange(cols), np.arange(rows))
        pixels = self.array.pixels if record.unit == Unit.ARRAY and not record.wide else 1
        group, v = x // pixels, x % pixels
        origin = record.src_base + group * stride[0] + v * record.pixel_stride + y * stride[1]
        row = record.row_start + y * record.row_step
        col = record.col_start + group * record.col_step + v * record.pixel_step
        return origin.reshape(-1), row.reshape(-1), col.reshape(-1)

    def _read(self, record: SliceRecord, step: int, lane: int, windows: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return the block that a lane reads in a step, for every window: int8 ``(samples, windows, M)``."""
        origin, row, col = windows
        entry = self.program.steps[record.step_base + step]
        read = entry.lanes[lane]
        if read is None:
            return np.full((len(self.memory), len(origin), self.array.block), record.pad_value, np.int8)
        y, x = row + read.dy, col + read.dx
        inside = (y >= 0) & (y < record.height) & (x >= 0) & (x < record.width)
        at = np.where(inside, origin + entry.common + lane + self.array.rows * read.row_offset, 0)
        block = self.memory[:, at].view(np.int8)
        return np.where(inside[None, :, None], block, np.int8(record.pad_value))

    def _array(self, record: SliceRecord) -> None:
        r, m, share = self.array.rows, self.array.block, 1 << record.spread
        cols = self.array.cols * (self.array.pixels if record.wide else 1)
        _, width, height, tiles = (last + 1 for last in record.dst_lasts)
        origin, row, col = self._windows(record, height, width)
        tile_stride = strides(record.src_jumps, record.src_lasts)[2]
        words = record.words_per_tile
        for tile in range(tiles):
            windows = (origin + tile * tile_stride, row, col)
            acc = np.zeros((len(self.memory), len(origin), cols))
            word = record.weight_base + tile * words
            for step in range(record.step_last + 1):
                inner = record.inner(step)
                for lane in range(r):
                    # The step's weights as a matrix: which channel of the block each word's weight meets.
                    matrix = np.zeros((m, cols))
                    for n in range(inner):
                        select = np.full(cols, (n * share + lane % share) % m)
                        if record.selection == Selection.DIAGONAL:
                            select = np.arange(cols) % m
                        elif record.selection == Selection.INDEXED:
                            select = self.program.indices[lane, word + n, :cols]
                        np.add.at(matrix, (select, np.arange(cols)), self.program.weights[lane, word + n, :cols])
                    if matrix.any():
                        acc += self._read(record, step, lane // share, windows).astype(np.float64) @ matrix
                word += inner
            self._drain(record, tile, acc.astype(np.int64))

    def _vector(self, record: SliceRecord) -> None:
        _, width, height, tiles = (last + 1 for last in record.dst_lasts)
        origin, row, col = self._windows(record, height, width)
        tile_stride = strides(record.src_jumps, record.src_lasts)[2]
        table = self.program.tables[:, record.table_base : record.table_base + 256]
        for tile in range(tiles):
            windows = (origin + tile * tile_stride, row, col)
            lanes = (0, 1) if record.paired else (0,)
            steps = range(record.step_last + 1)
            blocks = [self._read(record, step, lane, windows) for step in steps for lane in lanes]
            if record.operands:
                total = table[0][blocks[0].astype(np.int64) + 128] + table[1][blocks[1].astype(np.int64) + 128]
            else:
                total = table[0][np.max(blocks, axis=0).astype(np.int64) + 128]
            self._drain(record, tile, total)

    def _drain(self, record: SliceRecord, tile: int, acc: np.ndarray) -> None:
        """Scale ``(samples, windows, columns)`` sums of a tile and write their blocks."""
        m, q = self.array.block, self.array.requantizers
        results = (record.subs_last + 1) * q
        first = record.param_base + (0 if record.param_hold else tile * (record.subs_last + 1))
        params = self.program.params.rows(first * q, results)
        ofmap = self.program.config.requantize.compute(
            acc[:, :, :results], params, zero_point=record.zero_point, low=record.low, high=record.high
        )
        stride = strides(record.dst_jumps, record.dst_lasts)
        blocks, width, height, _ = (last + 1 for last in record.dst_lasts)
        enabled = [i for i in range(m) if record.byte_enable >> i & 1]
        where = record.dst_base + tile * stride[3]
        where = where + np.arange(height)[:, None, None] * stride[2] + np.arange(width)[None, :, None] * stride[1]
        where = (where + np.arange(blocks)[None, None, :] * stride[0]).reshape(-1)
        data = ofmap.view(np.uint8).reshape(len(acc), len(where), m)
        self.memory[:, where[:, None], np.array(enabled)[None, :]] = data[:, :, enabled]


def _walk(base: int, jumps: tuple[int, ...], lasts: tuple[int, ...]) -> np.ndarray:
    """Return the positions of a loop nest in order, the innermost loop being the first."""
    positions = np.array([base])
    for stride, last in reversed(list(zip(strides(jumps, lasts), lasts, strict=True))):
        positions = (positions[:, None] + np.arange(last + 1)[None, :] * stride).reshape(-1)
    return positions
