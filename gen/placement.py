"""Where feature maps lie: pitches that keep windows spread over the banks, and a static allocator.

Linear block of pixel ``(y, x)``, channel block ``k``: ``base + y * row_pitch + x * pixel_pitch + k``; bank ``L mod B``.
A window's blocks are read B at a time, one from each bank, so a reduction takes as many steps as its fullest bank has
blocks. The pitches decide how even that is; a few blocks of padding per row make it best.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd

import numpy as np

from heddle.gen.ir import Tensor, Window
from heddle.gen.kinds import Accumulate, Elementwise, Operation


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A feature map in memory, in blocks of M channels."""

    height: int
    width: int
    channels: int
    blocks: int
    pixel_pitch: int
    row_pitch: int
    base: int = 0

    @property
    def size(self) -> int:
        """Blocks from the first to behind the last."""
        return (self.height - 1) * self.row_pitch + (self.width - 1) * self.pixel_pitch + self.blocks

    def with_columns(self, count: int) -> "Layout":
        """Return the same memory with ``count`` columns as the channels of one, where they are whole blocks."""
        if count == 1:
            return self
        return replace(
            self,
            width=self.width // count,
            channels=self.channels * count,
            blocks=self.blocks * count,
            pixel_pitch=self.pixel_pitch * count,
        )

    def offset(self, row: int, col: int, block: int = 0) -> int:
        """Linear block of a pixel relative to ``base``; rows and columns in the padding have one too."""
        return row * self.row_pitch + col * self.pixel_pitch + block


def window_offsets(window: Window, layout: Layout, blocks: Iterable[int]) -> np.ndarray:
    """Offsets of a window's blocks from its origin: int64 ``(kh, kw, len(blocks))``."""
    ky = np.arange(window.kernel[0]) * window.dilation[0] * layout.row_pitch
    kx = np.arange(window.kernel[1]) * window.dilation[1] * layout.pixel_pitch
    return ky[:, None, None] + kx[None, :, None] + np.fromiter(blocks, np.int64)[None, None, :]


def choose_layouts(
    tensors: Mapping[str, Tensor], operations: Sequence[Operation], *, banks: int, block: int
) -> dict[str, Layout]:
    """Choose pitches for every tensor the operations touch: fewest steps for its readers, then least memory.

    The two operands of a sum share their pitches, so that one walk reads both.
    """
    names = {name for op in operations for name in (*op.sources, op.dest) if name}
    group = {name: name for name in names}

    def find(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for op in operations:
        if isinstance(op, Elementwise) and op.second is not None:
            group[find(op.sources[1])] = find(op.sources[0])
    layouts = {}
    for root in sorted({find(name) for name in names}):
        members = {name for name in names if find(name) == root}
        readers = [op for op in operations if isinstance(op, Accumulate) and op.source in members]
        best = min(_candidates(tensors[root], banks, block), key=lambda c: (_steps(c, readers, banks, block), c.size))
        for name in members:
            layouts[name] = best
    return layouts


def _candidates(tensor: Tensor, banks: int, block: int) -> Iterable[Layout]:
    height, width, channels = tensor.hwc
    blocks = -(-channels // block)
    # Neighbouring pixels in banks with a common factor collide; one spare block per pixel cures it.
    pitches = (blocks, blocks + 1) if width > 1 and gcd(blocks, banks) > 1 else (blocks,)
    for pixel_pitch in pitches:
        for spare in range(banks if height > 1 else 1):
            yield Layout(
                height=height, width=width, channels=channels, blocks=blocks,
                pixel_pitch=pixel_pitch, row_pitch=width * pixel_pitch + spare,
            )  # fmt: skip


def _steps(layout: Layout, readers: Iterable[Accumulate], banks: int, block: int) -> int:
    """Estimate the steps that all readers take together: per pixel and tile, the blocks in the fullest bank."""
    # Operations that differ in their rows and columns only, as those of a padded pool, share one estimate.
    times: Counter[tuple[Window, bool]] = Counter()
    for op in readers:
        grouped = op.groups > 1
        pixels = (op.rows[1] - op.rows[0]) * (op.cols[1] - op.cols[0])
        tiles = layout.blocks if grouped else -(-len(op.bias) // block)
        times[op.window, grouped] += pixels * tiles * (1 if grouped else min(block, layout.channels))
    return sum(
        count
        * _fullest(
            window.kernel,
            (window.dilation[0] * layout.row_pitch % banks, window.dilation[1] * layout.pixel_pitch % banks),
            1 if grouped else layout.blocks,
            banks,
        )
        for (window, grouped), count in times.items()
    )


@lru_cache(maxsize=4096)  # the same few windows, for every layout of every tensor and array
def _fullest(kernel: tuple[int, int], pitches: tuple[int, int], blocks: int, banks: int) -> int:
    """Blocks in the fullest bank, of the first ``blocks`` of each pixel of a window whose pixels lie so far apart."""
    rows = _per_bank(kernel[0], pitches[0], banks)
    cols = _per_bank(kernel[1], pitches[1], banks)
    # Banks add modulo their number: the counts convolve, and windows of any size cost the same.
    turned = (np.arange(banks)[:, None] - np.arange(banks)) % banks
    return int((cols[turned] @ (_per_bank(blocks, 1, banks)[turned] @ rows)).max())


def _per_bank(count: int, pitch: int, banks: int) -> np.ndarray:
    """How many of ``count`` addresses ``pitch`` apart lie in each bank: int64 ``(banks,)``."""
    return np.bincount(np.arange(count) * pitch % banks, minlength=banks)


def paired(apart: int, banks: int) -> bool:
    """Whether two lanes read blocks that lie ``apart`` in one step: lane 1 the block in the bank behind lane 0's."""
    return banks > 1 and apart % banks == 1


def allocate(
    layouts: Mapping[str, Layout], operations: Sequence[Operation], *, banks: int
) -> tuple[dict[str, Layout], int]:
    """Give every map a base such that maps alive at the same time do not overlap; return them and the blocks needed.

    Largest first, each at the lowest address that is free for its whole life (as TFLM's greedy planner) and, where it
    is an operand of a sum whose other operand has its place, lets two lanes read both at once.
    """
    partners: dict[str, list[tuple[str, int]]] = {}
    for op in operations:
        if isinstance(op, Elementwise) and op.second is not None:
            a, b = op.sources
            partners.setdefault(b, []).append((a, 1))
            partners.setdefault(a, []).append((b, -1))
    alive: dict[str, tuple[int, int]] = {}
    for index, op in enumerate(operations):
        for name in (*op.sources, op.dest):
            if name:
                alive[name] = (alive.get(name, (index, index))[0], index)
    placed: dict[str, Layout] = {}
    for name in sorted(layouts, key=lambda n: (-layouts[n].size, alive[n], n)):
        first, last = alive[name]
        taken = sorted(
            (other.base, other.base + other.size)
            for other_name, other in placed.items()
            if alive[other_name][0] <= last and first <= alive[other_name][1]
        )
        wanted = next(
            (
                placed[other].base + apart
                for other, apart in partners.get(name, ())
                if other in placed and other != name
            ),
            None,
        )

        def aligned(base: int, wanted: int | None = wanted) -> int:
            return base if wanted is None else base + (wanted - base) % banks

        base = aligned(0)
        for begin, end in taken:
            if base + layouts[name].size <= begin:
                break
            base = max(base, aligned(end))
        placed[name] = replace(layouts[name], base=base)
    return placed, max((layout.base + layout.size for layout in placed.values()), default=1)
