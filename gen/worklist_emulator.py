"""Runs a work-list core's program in NumPy: the same records, lists and tables as the hardware, no cycles.

It shares no code with the golden model. Places wrap as the hardware's do.
"""

from collections.abc import Sequence

import numpy as np

from heddle.gen.worklist_program import WorklistProgram
from heddle.gen.worklist_slices import Base
from heddle.hdl.requantize import RequantizeParams
from heddle.hdl.worklist import WorklistRecord
from heddle.hdl.worklist_config import HIGH_SHIFT


class WorklistEmulator:
    """Executes a :class:`WorklistProgram` on a batch of samples.

    :attr:`memory` keeps the feature maps as the last slice left them: int8 ``(samples, places)``.
    """

    def __init__(self, program: WorklistProgram) -> None:
        self.program, self.config = program, program.config
        self.memory = np.zeros((0, 1 << program.config.position_bits), np.int8)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return output packets, uint8 ``(samples, bytes)`` each, for input packets of that form."""
        self.memory = np.zeros((len(inputs[0]), self.memory.shape[1]), np.int8)
        packets, outputs = iter(inputs), []
        for record in self.program.records:
            if record.load:
                self._load(record, next(packets).view(np.int8))
            elif record.store:
                outputs.append(self._store(record).view(np.uint8))
            else:
                self._compute(record)
        return outputs

    def _load(self, record: WorklistRecord, packet: np.ndarray) -> None:
        at = 0
        buffer = np.zeros((len(packet), self.config.load_bytes), np.int8)
        for group, units in enumerate(self.program.units(record)):
            size = units * self.config.unit_bytes
            buffer = np.concatenate([buffer, packet[:, at : at + size]], axis=1)[:, size:]
            at += size
            for entry in self.program.drains[record.drain_base : record.drain_base + record.drain_last + 1]:
                chosen = [byte or 0 for byte in self.config.selections[entry.source]]
                self._write(record, group, entry.write, entry.offset, entry.param, buffer[:, chosen].astype(np.int64))

    def _store(self, record: WorklistRecord) -> np.ndarray:
        bases = np.array([base.place for base in self.program.groups(record)])
        places = (bases[:, None] + self._offsets(record, 0)).reshape(-1)
        return self.memory[:, places % self.memory.shape[1]]

    def _offsets(self, record: WorklistRecord, lane: int) -> np.ndarray:
        """Return the place of each item of a lane from its group's."""
        program, items = self.program, self._items(record)
        taps = np.array(program.places)[record.tap_base + program.taps[lane, items]]
        return taps + program.channels[lane, items] * record.plane

    def _compute(self, record: WorklistRecord) -> None:
        program, sums = self.program, self._sums(record)
        # All groups of the slice read before any writes: no slice reads what it writes.
        lanes = range(self.config.array.lanes)
        lane_ends = [np.flatnonzero(program.ends[lane, self._items(record)]) for lane in lanes]
        held: np.ndarray | int = 0
        pulses = np.flatnonzero(program.pulses[self._items(record)])
        for at, number in zip(pulses.tolist(), range(record.drain_last + 1), strict=True):
            entry = program.drains[record.drain_base + number]
            total = held + np.zeros((len(self.memory), record.group_last + 1, self.config.array.pixels), np.int64)
            if entry.source:
                lane = entry.source.bit_length() - 1
                begin = at + self.config.skews[record.skew]
                for cycle, pixels in enumerate(np.split(np.arange(total.shape[2]), self.config.array.turns), begin):
                    # The newest sum that the lane had before this cycle, the loop's last one if there was none in it.
                    newest = int(np.searchsorted(lane_ends[lane], cycle)) - 1
                    total[..., pixels] += sums[lane][newest][..., pixels]
            held = total if entry.more else 0
            if not entry.more:
                for group in range(record.group_last + 1):
                    self._write(record, group, entry.write, entry.offset, entry.param, total[:, group])

    def _items(self, record: WorklistRecord) -> slice:
        return slice(record.item_base, record.item_base + record.loop_last + 1)

    def _sums(self, record: WorklistRecord) -> list[list[np.ndarray]]:
        """Return for each lane the sums it ends, ``(samples, groups, V)`` each, in order."""
        program, size, items = self.program, self.memory.shape[1], self._items(record)
        groups, pixels = program.groups(record), np.arange(self.config.array.pixels)
        places = np.array([base.place for base in groups])[:, None] + pixels
        beyond: dict[int, np.ndarray] = {}
        every = []
        for lane in range(self.config.array.lanes):
            own, acc = [], np.zeros((len(self.memory), *places.shape), np.int64)
            for weight, tap, offset, end, high in zip(
                program.weights[lane, items].tolist(),
                program.taps[lane, items].tolist(),
                self._offsets(record, lane).tolist(),
                program.ends[lane, items].tolist(),
                program.highs[lane, items].tolist(),
                strict=True,
            ):
                if weight:
                    if tap not in beyond:
                        beyond[tap] = self._beyond(groups, tap)
                    activations = np.where(beyond[tap], record.pad, self.memory[:, (places + offset) % size])
                    acc += (weight << HIGH_SHIFT if high else weight) * activations.astype(np.int64)
                if end:
                    own.append(acc)
                    acc = np.zeros_like(acc)
            every.append(own)
        return every

    def _beyond(self, groups: Sequence[Base], tap: int) -> np.ndarray:
        """Return which pixels of each group a tap meets beyond the map: bool ``(groups, V)``."""
        masks = [0 if base.masks is None else self.program.masks[base.masks + tap] for base in groups]
        return np.array([[mask >> v & 1 for v in range(self.config.array.pixels)] for mask in masks], bool)

    def _write(
        self, record: WorklistRecord, group: int, write: int, offset: int, param: int, total: np.ndarray
    ) -> None:
        """Scale ``(samples, V)`` sums and write the word."""
        config, size = self.config, self.memory.shape[1]
        word = self.program.words[record.dest_base + group * record.writes + write]
        if not word.write:
            return
        params = self.program.params.take(np.full(total.shape[1], param))
        result = self._scaled(total, params, record)
        places = word.base + offset + np.arange(config.array.pixels)
        if word.halve:
            result = np.concatenate([result[:, word.parity :: 2], result[:, 1::2]], axis=1)
            places[config.array.pixels // 2 :] += record.apart * config.array.pixels
        for v in range(config.array.pixels):
            if word.write >> v & 1:
                self.memory[:, places[v] % size] = result[:, v]

    def _scaled(self, total: np.ndarray, params: RequantizeParams, record: WorklistRecord) -> np.ndarray:
        limit = 1 << self.config.acc_bits - 1
        # Sums of pixels that a group does not have may exceed what the accumulator holds: nothing writes them.
        return self.config.requantize.compute(
            (total + limit) % (2 * limit) - limit, params, zero_point=record.zero_point, low=record.low,
            high=record.high,
        )  # fmt: skip
