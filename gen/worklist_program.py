"""Slices to the program and the memory images of a work-list core."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

import numpy as np
from amaranth.hdl import unsigned
from amaranth.lib import data

from heddle.gen.worklist_layout import Word
from heddle.gen.worklist_slices import NOTHING, Assembler, Base, DrainEntry, Slice
from heddle.gen.worklists import least_skew
from heddle.hdl.packing import packer
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams
from heddle.hdl.worklist import WorklistImages, WorklistRecord
from heddle.hdl.worklist_config import WorklistConfig, WorklistShape, bits_for

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class WorklistProgram:
    """What a core runs: its configuration, slices as records, and the tables as arrays.

    Parameters
    ----------
    weights, taps, channels, highs, ends
        ``(lanes, item_words)``; ``pulses`` ``(item_words,)`` of lane 0.
    places, masks
        The tables of taps: the place of each from its group's, and which pixels of a group it meets beyond the map.
    drains, params
        The drain list, and the requantization parameters by index.
    bases
        Of each group, its masks being a place in their table.
    """

    config: WorklistConfig
    records: tuple[WorklistRecord, ...]
    weights: np.ndarray
    taps: np.ndarray
    channels: np.ndarray
    highs: np.ndarray
    ends: np.ndarray
    pulses: np.ndarray
    places: tuple[int, ...]
    masks: tuple[int, ...]
    drains: tuple[DrainEntry, ...]
    params: RequantizeParams
    bases: tuple[Base, ...]
    words: tuple[Word, ...]

    def units(self, record: WorklistRecord) -> tuple[int, ...]:
        """Units of each chunk of a slice that loads."""
        return tuple(base.place + 1 for base in self.groups(record))

    def groups(self, record: WorklistRecord) -> tuple[Base, ...]:
        """Return the groups of a slice."""
        return self.bases[record.base_base : record.base_base + record.group_last + 1]

    def images(self) -> WorklistImages:
        """Return the words of all memories."""
        config = self.config
        wrap, rows = (1 << config.position_bits) - 1, (1 << config.row_bits) - 1
        items = []
        for lane in range(config.array.lanes):
            pack = packer(config.item_layout(lane))
            items.append(
                [
                    pack({"weight": w, "tap": t, "channel": c, "high": h, "end": e, "drain": d})
                    for w, t, c, h, e, d in zip(
                        self.weights[lane].tolist(),
                        self.taps[lane].tolist(),
                        self.channels[lane].tolist(),
                        self.highs[lane].tolist(),
                        self.ends[lane].tolist(),
                        self.pulses.tolist(),
                        strict=True,
                    )
                ]
            )
        packed = self.params.pack(config.requantize)
        # Parameters are packed already, for all channels.
        flat = {**config.drain_layout.members, "params": unsigned(config.requantize.params_layout.size)}
        pack_drain = packer(data.StructLayout(flat))
        drains = [
            pack_drain({**d._asdict(), "offset": d.offset & wrap, "more": int(d.more), "params": packed[d.param]})
            for d in self.drains
        ]
        pack_base = packer(config.base_layout)
        pack_dest = packer(config.dest_layout)
        dests = [pack_dest({**w._asdict(), "base": w.base & wrap, "halve": int(w.halve)}) for w in self.words]
        pack_record = packer(config.record_layout)
        return WorklistImages(
            items=tuple(items),
            drains=drains,
            bases=[
                pack_base({"base": base.place, "beyond": int(base.masks is not None), "masks": base.masks or 0})
                for base in self.bases
            ],
            taps=[place & wrap for place in self.places],
            masks=self.masks,
            dests=dests,
            records=[pack_record({**asdict(record), "apart": record.apart & rows}) for record in self.records],
        )


def bank_words(places: int, shape: WorklistShape) -> int:
    """Return the words of each bank of a copy of the maps; pixels that a group lacks may be read from beyond them."""
    return -(-places // shape.pixels)


class _Table(Generic[T]):
    """A table in which equal runs of entries lie once."""

    def __init__(self) -> None:
        self.entries: list[T] = []
        self._places: dict[tuple[T, ...], int] = {(): 0}

    def place(self, run: tuple[T, ...]) -> int:
        """Return where ``run`` begins."""
        if run not in self._places:
            self._places[run] = len(self.entries)
            self.entries.extend(run)
        return self._places[run]


def program(
    assembler: Assembler,
    slices: Sequence[Slice],
    *,
    places: int,
    requantize: RequantizeConfig,
    params: RequantizeParams,
) -> WorklistProgram:
    """Lay the slices' tables one behind another and size the core for them."""
    shape = assembler.shape
    drains, bases, words = _Table[DrainEntry](), _Table[Base](), _Table[Word]()
    taps, masks = _Table[int](), _Table[int]()
    skews = tuple(sorted({least_skew(shape.lanes, part.writes, shape.turns) for part in slices}))
    records, columns = [], []
    # Slices of a layer's rectangles have the same lists.
    lists: dict[bytes, int] = {}
    at = 0
    for part in slices:
        own = _columns(part, shape.lanes)
        content = b"".join(column.tobytes() for column in own)
        if content not in lists:
            lists[content] = at
            columns.append(own)
            at += part.loop.cycles
        records.append(
            WorklistRecord(
                item_base=lists[content],
                loop_last=part.loop.cycles - 1,
                group_last=len(part.bases) - 1,
                base_base=bases.place(
                    tuple(
                        base if base.masks is None else base._replace(masks=masks.place(part.masks[base.masks]))
                        for base in part.bases
                    )
                ),
                tap_base=taps.place(part.taps),
                plane=part.plane,
                skew=skews.index(least_skew(shape.lanes, part.writes, shape.turns)),
                dest_base=words.place(part.words),
                drain_base=drains.place(part.drains),
                drain_last=max(0, len(part.drains) - 1),
                zero_point=part.zero_point, low=part.low, high=part.high, pad=part.pad,
                load=int(part.load), store=int(part.store), writes=part.writes, apart=part.apart,
            )
        )  # fmt: skip
    depth = bank_words(places, shape)
    # Counters pass the end of the last run of each table before the next slice sets them.
    bases.entries.append(Base(0))
    drains.entries.append(DrainEntry(0, False, 0, 0, 0))
    writes = max(part.writes for part in slices)
    words.entries += [NOTHING] * writes
    # A network may have none.
    masks.entries.append(0)
    position_bits = bits_for(depth) + bits_for(shape.pixels)
    items = [item for part in slices for own in part.items for item in own]
    config = WorklistConfig(
        array=shape,
        requantize=requantize,
        words=depth,
        item_words=at,
        drain_words=len(drains.entries),
        base_words=len(bases.entries),
        base_bits=max(position_bits, *(base.place.bit_length() for base in bases.entries)),
        tap_words=len(taps.entries),
        mask_words=len(masks.entries),
        dest_words=len(words.entries),
        records=len(records),
        writes=writes,
        skews=skews,
        acc_bits=requantize.acc_bits,
        unit_bytes=assembler.unit_bytes,
        load_bytes=assembler.load_bytes,
        selections=tuple(assembler.selections),
        field_bits={
            "loop_last": bits_for(1 + max(r.loop_last for r in records)),
            "group_last": bits_for(1 + max(r.group_last for r in records)),
            "plane": bits_for(1 + max(r.plane for r in records)),
            "tap": bits_for(1 + max(item.tap for item in items)),
            "channel": bits_for(1 + max(item.channel for item in items)),
        },
    )
    weights, taps_of, channels, highs, ends, pulses = (
        np.concatenate(parts, axis=-1) for parts in zip(*columns, strict=True)
    )
    return WorklistProgram(
        config=config, records=tuple(records), weights=weights, taps=taps_of, channels=channels, highs=highs, ends=ends,
        pulses=pulses[0], places=tuple(taps.entries), masks=tuple(masks.entries), drains=tuple(drains.entries),
        params=params, bases=tuple(bases.entries), words=tuple(words.entries),
    )  # fmt: skip


def _columns(part: Slice, lanes: int) -> tuple[np.ndarray, ...]:
    """Return weights, taps, channels, highs, ends ``(lanes, cycles)`` and pulses ``(1, cycles)`` of a slice."""
    weights, taps, channels, highs, ends = (np.zeros((lanes, part.loop.cycles), np.int64) for _ in range(5))
    pulses = np.zeros((1, part.loop.cycles), np.int64)
    for lane, slots in enumerate(part.loop.slots):
        for cycle, slot in enumerate(slots):
            if slot is not None:
                item = part.items[slot[0]][slot[1]]
                weights[lane, cycle], taps[lane, cycle], channels[lane, cycle], highs[lane, cycle] = item
        ends[lane, sorted(part.loop.ends[lane])] = 1
    if not part.load:
        pulses[0, [drain.at for drain in part.loop.drains]] = 1
    return weights, taps, channels, highs, ends, pulses
