"""Where feature maps lie in a work-list core: channel planes of rows, each row followed by its padding.

Neighbouring pixels of a channel are neighbours in memory, so that one read gives V of them under any tap. A map that is
only read with stride 2 is divided into planes of every second pixel, where they are neighbours again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from heddle.errors import UnsupportedError
from heddle.gen.ir import Network
from heddle.gen.kinds import Accumulate, Core, Elementwise


@dataclass(frozen=True, kw_only=True)
class Planes:
    """One map's place.

    Parameters
    ----------
    height, width, channels
        Its shape.
    phases
        Into how many planes its rows and its columns are divided: 1 or 2 each.
    columns
        Places from one row of a plane to the next: its pixels and what lies between two rows.
    gap
        Rows of padding after each plane, which are those before the next.
    pad
        The value of padding.
    base
        The first place it takes.
    """

    height: int
    width: int
    channels: int
    phases: tuple[int, int] = (1, 1)
    columns: int = 0
    gap: int = 0
    pad: int = 0
    base: int = 0

    @property
    def row_pixels(self) -> int:
        """Pixels in a row of a plane."""
        return -(-self.width // self.phases[1])

    @property
    def _phase_size(self) -> int:
        return (-(-self.height // self.phases[0]) + self.gap) * self.columns

    @property
    def plane(self) -> int:
        """Places from a channel to the next."""
        return self.phases[0] * self.phases[1] * self._phase_size

    @property
    def lead(self) -> int:
        """Places before the first channel, whose end is its padding: as large as a channel."""
        return self.plane if self.plane > self.height * self.width else 0

    @property
    def size(self) -> int:
        """Places it takes in all."""
        return self.lead + self.channels * self.plane

    def at(self, y: int, x: int, channel: int = 0) -> int:
        """Return the place of a pixel, or of padding where that lies within reach."""
        rows, cols = self.phases
        phase = (y % rows) * cols + x % cols
        inside = phase * self._phase_size + (y // rows) * self.columns + x // cols
        return self.base + self.lead + channel * self.plane + inside

    def pads(self) -> frozenset[int]:
        """Places of a channel that hold no pixel, from the channel's first."""
        rows, cols = self.phases
        data = {
            ((y % rows) * cols + x % cols) * self._phase_size + (y // rows) * self.columns + x // cols
            for y in range(self.height)
            for x in range(self.width)
        }
        return frozenset(range(self.plane)) - data

    def tail(self) -> frozenset[int]:
        """Places of :meth:`pads` after the last pixel: the padding before the next channel."""
        last = max(set(range(self.plane)) - self.pads())
        return frozenset(range(last + 1, self.plane))


class Word(NamedTuple):
    """Where V results go: places from ``base`` on, the bits of those written and of those that are padding."""

    base: int
    write: int
    pad: int
    halve: bool = False
    parity: int = 0


class Group(NamedTuple):
    """V pixels that are computed at once: where the first one's window has its origin, and one or two words."""

    source: int
    words: tuple[Word, ...]


def choose_layouts(network: Network, core: Core) -> dict[str, Planes]:
    """Choose phases and padding of every map, its ``base`` still 0.

    Raises
    ------
    UnsupportedError
        Readers of a map that need different values of padding.
    """
    names = list(dict.fromkeys(name for op in core.operations for name in (*op.sources, op.dest) if name))
    together = {name: name for name in names}

    def find(name: str) -> str:
        while together[name] != name:
            name = together[name]
        return name

    for op in core.operations:
        if isinstance(op, Elementwise):
            for name in op.sources[1:]:
                together[find(name)] = find(op.sources[0])
    needs = {name: _needs(network, core, [n for n in names if find(n) == name]) for name in names if find(name) == name}
    layouts = {}
    for name in names:
        phases, (gap, between) = needs[find(name)]
        height, width, channels = network.tensors[name].hwc
        pad = _pad_value(core, name)
        layout = Planes(height=height, width=width, channels=channels, phases=phases, gap=gap, pad=pad)
        layouts[name] = replace(layout, columns=layout.row_pixels + between)
    # Rows of one length everywhere, so that pixels of several rows can be computed at once.
    widest: dict[int, int] = {}
    for layout in layouts.values():
        widest[layout.row_pixels] = max(widest.get(layout.row_pixels, 0), layout.columns)
    return {name: replace(layout, columns=widest[layout.row_pixels]) for name, layout in layouts.items()}


def _needs(network: Network, core: Core, names: Sequence[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return phases, rows of padding and places between rows that all readers of these maps can do with."""
    readers = [op for op in core.operations if isinstance(op, Accumulate) and op.source in names]
    added = any(isinstance(op, Elementwise) and name in op.sources for op in core.operations for name in names)
    height, width, _ = network.tensors[names[0]].hwc
    phases, pads = [], []
    for axis, size in enumerate((height, width)):
        strides = {op.window.stride[axis] for op in readers if _positions(op, axis) > 1}
        phases.append(2 if strides == {2} and not added else 1)
        before = after = 0
        for op in readers:
            first, last = reach(op, axis)
            before = max(before, -(first // phases[axis]))
            after = max(after, last // phases[axis] - (-(-size // phases[axis]) - 1))
        pads.append(max(before, after))
    return (phases[0], phases[1]), (pads[0], pads[1])


def _positions(op: Accumulate, axis: int) -> int:
    first, last = (op.rows, op.cols)[axis]
    return last - first


def reach(op: Accumulate, axis: int) -> tuple[int, int]:
    """First and last row (axis 0) or column (1) that the windows of ``op`` touch."""
    w = op.window
    start, stop = (op.rows, op.cols)[axis]
    before = (w.padding.top, w.padding.left)[axis]
    return (
        start * w.stride[axis] - before,
        (stop - 1) * w.stride[axis] - before + (w.kernel[axis] - 1) * w.dilation[axis],
    )


def _pad_value(core: Core, name: str) -> int:
    values: dict[int, str] = {}
    for op in core.operations:
        if isinstance(op, Accumulate) and op.source == name and _reads_padding(op):
            values.setdefault(op.pad_value, op.layer)
    if len(values) > 1:
        first, second = list(values)[:2]
        raise UnsupportedError(
            f"{name} is padded with {second} here and with {first} in {values[first]}",
            where=values[second],
            remedy="use the array core",
        )
    return next(iter(values), 0)


def _reads_padding(op: Accumulate) -> bool:
    p = op.window.padding
    return any((p.top, p.bottom, p.left, p.right))


def allocate(layouts: dict[str, Planes], core: Core) -> tuple[dict[str, Planes], int]:
    """Give every map a base, none while another that is still needed lies there; return the places taken, too."""
    lives: dict[str, tuple[int, int]] = {}
    for index, op in enumerate(core.operations):
        for name in (*op.sources, op.dest):
            if name:
                lives[name] = (lives.get(name, (index, 0))[0], index)
    placed: dict[str, Planes] = {}
    total = 0
    for name, (start, stop) in sorted(lives.items(), key=lambda item: (-layouts[item[0]].size, item[1])):
        base = 0
        beside = [placed[n] for n in placed if lives[n][0] <= stop and start <= lives[n][1]]
        for other in sorted(beside, key=lambda layout: layout.base):
            if base + layouts[name].size <= other.base:
                break
            base = max(base, other.base + other.size)
        placed[name] = replace(layouts[name], base=base)
        total = max(total, base + placed[name].size)
    return placed, total


def groups(
    source: Planes,
    dest: Planes,
    *,
    rows: tuple[int, int],
    cols: tuple[int, int],
    stride: tuple[int, int],
    dest_at: tuple[int, int],
    pixels: int,
) -> list[Group]:
    """Cut a range of positions into groups of ``pixels``: across rows where possible and better, else row by row."""
    step = (stride[0] // source.phases[0] * source.columns, stride[1] // source.phases[1])
    whole = dest_at[1] == 0 and cols == (0, dest.width) and dest.phases == (1, 1)
    across = whole and step == (dest.columns, 1)
    chunk = pixels if step[1] == 1 or cols[1] - cols[0] == 1 else 1
    by_row = (rows[1] - rows[0]) * -(-(cols[1] - cols[0]) // chunk)
    places = (rows[1] - rows[0]) * dest.columns
    # What goes across rows brings the padding between them along; else that is written apart.
    worth = 5 if dest.columns > dest.width else 4
    if across and 4 * -(-places // pixels) <= worth * by_row:
        first = source.at(rows[0] * stride[0], 0)
        base = dest.at(rows[0] + dest_at[0], 0)
        return [
            Group(first + at, (_across(dest, base, at, min(pixels, places - at)),)) for at in range(0, places, pixels)
        ]
    return [
        Group(
            source.at(y * stride[0], x * stride[1]),
            row_words(dest, y + dest_at[0], x + dest_at[1], min(chunk, cols[1] - x), pixels=pixels),
        )
        for y in range(*rows)
        for x in range(cols[0], cols[1], chunk)
    ]


def _across(dest: Planes, base: int, at: int, count: int) -> Word:
    pad = sum(1 << v for v in range(count) if (at + v) % dest.columns >= dest.width)
    return Word(base + at, (1 << count) - 1, pad)


def row_words(dest: Planes, y: int, x: int, count: int, *, pixels: int, first: int = 0) -> tuple[Word, ...]:
    """Return where ``count`` pixels of a row go, which are results ``first`` and on of V: a word for each phase."""
    words = []
    for phase in range(dest.phases[1]):
        taken = [v for v in range(count) if (x + v) % dest.phases[1] == phase]
        halve = dest.phases[1] == 2
        if not taken:
            words.append(Word(0, 0, 0, halve))
            continue
        place = (first + taken[0]) // dest.phases[1]
        write = ((1 << len(taken)) - 1) << place
        pad = 0
        last = x + taken[-1]
        if last + dest.phases[1] >= dest.width:
            # What follows the row's last pixel is padding, as far as the word reaches.
            free = pixels - place - len(taken)
            after = min(free, dest.columns - 1 - last // dest.phases[1])
            pad = ((1 << after) - 1) << (place + len(taken))
        base = dest.at(y, x + taken[0]) - place
        words.append(Word(base, write | pad, pad, halve, (first + taken[0]) % 2 if halve else 0))
    return tuple(words)


def covering(places: Iterable[int], pixels: int) -> list[Word]:
    """Return words of padding that write exactly ``places``."""
    words: list[Word] = []
    first = mask = 0
    for place in sorted(places):
        if mask and place >= first + pixels:
            words.append(Word(first, mask, mask))
            mask = 0
        if not mask:
            first = place
        mask |= 1 << (place - first)
    return [*words, Word(first, mask, mask)] if mask else words
