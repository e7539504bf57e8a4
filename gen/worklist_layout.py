"""Where feature maps lie in a work-list core: channel planes, row after row.

Neighbouring pixels of a channel are neighbours in memory, so that one read gives V of them under any tap. A map that is
only read with stride 2 is divided into planes of every second pixel, where they are neighbours again. No padding lies
between rows or channels: what a window meets beyond the map's edge is some other pixel, and masked. Planes of every
second column lie V / 2 places apart, modulo V, where that takes little room: what belongs in two of them then meets
every bank once, and is written at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from heddle.gen.ir import Network, Window
from heddle.gen.kinds import Accumulate, Core, Elementwise

MOST_SPARE = 0.25
"""Of a map that is divided into planes of every second pixel: the most room that may be left between these."""


@dataclass(frozen=True, kw_only=True)
class Planes:
    """One map's place.

    Parameters
    ----------
    height, width, channels
        Its shape.
    phases
        Into how many planes its rows and its columns are divided: 1 or 2 each.
    spare
        Places between one of these planes and the next.
    base
        The first place it takes.
    """

    height: int
    width: int
    channels: int
    phases: tuple[int, int] = (1, 1)
    spare: int = 0
    base: int = 0

    @cached_property
    def columns(self) -> int:
        """Places from a row of a plane to the next."""
        return -(-self.width // self.phases[1])

    @cached_property
    def phase(self) -> int:
        """Places from a plane of every second pixel to the next."""
        return -(-self.height // self.phases[0]) * self.columns + self.spare

    @cached_property
    def plane(self) -> int:
        """Places from a channel to the next."""
        return self.phases[0] * self.phases[1] * self.phase

    def apart(self, pixels: int) -> int | None:
        """Rows of V = ``pixels`` banks from place V / 2 of a plane to the next plane; ``None`` if that is another bank.

        >>> planes = Planes(height=8, width=16, channels=1, phases=(1, 2))
        >>> planes.apart(32), planes.spaced(32).apart(32)
        (None, 2)
        """
        rows, rest = divmod(self.phase - pixels // 2, pixels)
        return None if rest or self.phases[1] == 1 else rows

    def spaced(self, pixels: int) -> "Planes":
        """Return the map with room for :meth:`apart` where that takes no more than :data:`MOST_SPARE` of it."""
        spare = (pixels // 2 - self.phase) % pixels
        if self.phases[1] == 1 or spare > MOST_SPARE * self.phase:
            return self
        return replace(self, spare=spare)

    @property
    def size(self) -> int:
        """Places it takes in all."""
        return self.channels * self.plane

    def at(self, y: int, x: int, channel: int = 0) -> int:
        """Return the place of a pixel; beyond the map's edge, of what lies as far from it as a pixel would."""
        rows, cols = self.phases
        phase = (y % rows) * cols + x % cols
        inside = phase * self.phase + (y // rows) * self.columns + x // cols
        return self.base + channel * self.plane + inside


class Word(NamedTuple):
    """Where V results go: places from ``base`` on, and which of those are written.

    With ``halve``, these are every second result from ``parity`` on, V / 2 of them; then the others, :meth:`apart` rows
    further on.
    """

    base: int
    write: int
    halve: bool = False
    parity: int = 0


class Group(NamedTuple):
    """V pixels that are computed at once.

    ``source`` is where the first one's window has its origin, padding not counted; ``words`` are where results go;
    ``pixels`` are those that there are: which of V, and row and column of the window's position.
    """

    source: int
    words: tuple[Word, ...]
    pixels: tuple[tuple[int, int, int], ...]


def choose_layouts(network: Network, core: Core) -> dict[str, Planes]:
    """Choose the phases of every map, its ``base`` still 0."""
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
    phases = {name: _phases(core, [n for n in names if find(n) == name]) for name in names if find(name) == name}
    layouts = {}
    for name in names:
        height, width, channels = network.tensors[name].hwc
        layouts[name] = Planes(height=height, width=width, channels=channels, phases=phases[find(name)])
    return layouts


def _phases(core: Core, names: Sequence[str]) -> tuple[int, int]:
    """Return the phases that suit all readers of these maps."""
    readers = [op for op in core.operations if isinstance(op, Accumulate) and op.source in names]
    added = any(isinstance(op, Elementwise) and name in op.sources for op in core.operations for name in names)
    strides: tuple[set[int], set[int]] = (set(), set())
    for op in readers:
        for axis, (start, stop) in enumerate((op.rows, op.cols)):
            if stop - start > 1:
                strides[axis].add(op.window.stride[axis])
    rows, cols = (2 if found == {2} and not added else 1 for found in strides)
    return rows, cols


def allocate(layouts: dict[str, Planes], core: Core) -> tuple[dict[str, Planes], int]:
    """Give every map a base, none while another that is still needed lies there; return the places taken, too."""
    lives = _lives(core)
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


def least_places(layouts: Mapping[str, Planes], core: Core) -> int:
    """Return the places of the maps that are needed at once."""
    lives = _lives(core)
    return max(
        sum(layouts[name].size for name, (start, stop) in lives.items() if start <= index <= stop)
        for index in range(len(core.operations))
    )


def _lives(core: Core) -> dict[str, tuple[int, int]]:
    """Return the first and the last operation that has to do with each map."""
    lives: dict[str, tuple[int, int]] = {}
    for index, op in enumerate(core.operations):
        for name in (*op.sources, op.dest):
            if name:
                lives[name] = (lives.get(name, (index, 0))[0], index)
    return lives


def groups(
    source: Planes,
    dest: Planes,
    *,
    rows: tuple[int, int],
    cols: tuple[int, int],
    stride: tuple[int, int],
    dest_at: tuple[int, int],
    pixels: int,
    most_words: int,
) -> list[Group]:
    """Cut a range of positions into groups of at most ``pixels`` places of the source, over several rows if need be.

    No group has more than ``most_words`` words, or those of a single row.
    """
    step = (stride[0] // source.phases[0] * source.columns, stride[1] // source.phases[1])
    width = cols[1] - cols[0]
    # Windows that are not neighbours give no neighbouring results.
    reach = pixels if step[1] == 1 or width == 1 else 1
    # Where a row of positions is longer than the source's, the next one's windows begin within it.
    apart = step[0] >= width
    result: list[_Open] = []
    for y in range(*rows):
        x = cols[0]
        while x < cols[1]:
            place = source.at(y * stride[0], x * stride[1])
            first = place - result[-1].source if result else reach
            if apart and 0 < first < reach:
                count = min(cols[1] - x, reach - first)
                words = row_words(dest, y + dest_at[0], x + dest_at[1], count, pixels=pixels, first=first)
                if result[-1].takes(words, most_words):
                    result[-1].pixels += [(first + i, y, x + i) for i in range(count)]
                    x += count
                    continue
            count = min(cols[1] - x, reach)
            result.append(_Open(place, [(i, y, x + i) for i in range(count)]))
            result[-1].takes(row_words(dest, y + dest_at[0], x + dest_at[1], count, pixels=pixels), None)
            x += count
    return [group.closed() for group in result]


class _Open:
    """A group that may still get pixels. Words that lie one behind another as their results do are one."""

    def __init__(self, source: int, pixels: list[tuple[int, int, int]]) -> None:
        self.source, self.pixels = source, pixels
        self._words: dict[tuple[int, bool, int], int] = {}

    def takes(self, words: Sequence[Word], most: int | None) -> bool:
        """Take ``words``, unless there are more than ``most`` then."""
        new = [((word.base, word.halve, word.parity), word.write) for word in words]
        if most is not None and len(self._words.keys() | {key for key, _ in new}) > most:
            return False
        for key, write in new:
            self._words[key] = self._words.get(key, 0) | write
        return True

    def closed(self) -> Group:
        """Return the group."""
        words = tuple(Word(base, write, halve, parity) for (base, halve, parity), write in self._words.items())
        return Group(self.source, words, tuple(self.pixels))


def row_words(dest: Planes, y: int, x: int, count: int, *, pixels: int, first: int = 0) -> tuple[Word, ...]:
    """Return where ``count`` pixels of a row go, which are results ``first`` and on of V = ``pixels``.

    A word for each plane of every second column, or one for both.
    """
    if dest.phases[1] == 1:
        return (Word(dest.at(y, x) - first, ((1 << count) - 1) << first),)
    words = []
    for phase in range(2):
        taken = [v for v in range(count) if (x + v) % 2 == phase]
        if taken:
            place = (first + taken[0]) // 2
            base = dest.at(y, x + taken[0]) - place
            words.append(Word(base, ((1 << len(taken)) - 1) << place, True, (first + taken[0]) % 2))
    if len(words) == 2 and words[0].parity == 0 and dest.apart(pixels) is not None:
        even, odd = words
        return (even._replace(write=even.write | odd.write << pixels // 2),)
    return tuple(words)


def masks(groups: Sequence[Group], window: Window, source: Planes) -> list[bytes]:
    """Return for each group which taps of which pixels lie beyond the edge of ``source``, as :func:`unpacked` reads it.

    Empty for a group of which every tap of every pixel is inside.
    """
    p, size = window.padding, max(len(group.pixels) for group in groups)
    # What a group lacks is its first pixel again.
    at = np.array([[*group.pixels, *group.pixels[:1] * (size - len(group.pixels))] for group in groups])
    beyond = []
    for axis, before, most in ((0, p.top, source.height), (1, p.left, source.width)):
        taps = np.arange(window.kernel[axis]) * window.dilation[axis] - before
        places = at[:, None, :, 1 + axis] * window.stride[axis] + taps[:, None]
        beyond.append((places < 0) | (places >= most))
    rows, cols = beyond
    pixels = at[:, :, 0].astype(np.uint8)
    some = rows.any(axis=(1, 2)) | cols.any(axis=(1, 2))
    return [pixels[i].tobytes() + rows[i].tobytes() + cols[i].tobytes() if some[i] else b"" for i in range(len(groups))]


def unpacked(run: bytes, window: Window) -> tuple[int, ...]:
    """Return the mask of each tap, rows first, then columns: bit ``v`` for pixel ``v``."""
    height, width = window.kernel
    size = len(run) // (1 + height + width)
    pixels, rest = np.frombuffer(run[:size], np.uint8), np.frombuffer(run[size:], bool).reshape(-1, size)
    rows, cols = rest[:height], rest[height:]
    mask = np.zeros((height, width, int(pixels.max()) + 1), bool)
    mask[:, :, pixels] = rows[:, None] | cols
    bits = np.packbits(mask.reshape(height * width, -1), axis=1, bitorder="little")
    return tuple(int.from_bytes(row.tobytes(), "little") for row in bits)
