"""Sizes beyond which a network is refused before it is mapped: it fits no board, and would take memory and time.

The largest part of any board has 208 block RAMs of 18 kbit, 468 KiB in all. The limits lie well above what such a part
holds, so that they refuse no network that a board could run, and below what takes a computer long.
"""

from heddle.errors import CapacityError

MAX_WEIGHT_BYTES = 2**22
"""Weight words of all lanes, idle ones included: nine times the largest part."""
MAX_SLICES = 2**10
"""Slices of a program. A record takes some 20 words of 32 bits: 1,024 fill a sixth of the largest part."""
MAX_STEPS = 2**16
"""Entries of the step table, each of at least one address: a fifth of the largest part with a single lane."""
MAX_RESULTS = 2**16
"""Channels with requantization parameters, counted once per slice: with 32 bits each, half of the largest part."""
MAX_PLACES = 2**19
"""Bytes of the feature maps that one operation reads and writes, on a work-list core: more than the largest part's."""
MAX_ITEMS = 2**18
"""Entries of all work lists, each of at least 12 bits: four fifths of the largest part, that has maps, too."""
MAX_MASKS = 2**16
"""Masks of a work-list core's windows, each of two bits or more and in every lane's copy of their table: with 32 pixels
half of the largest part for each lane."""


def check_limit(amount: int, limit: int, what: str, *, layer: str, remedy: str) -> None:
    """Refuse ``layer`` if it, with those before it, takes more than ``limit`` of ``what``.

    Raises
    ------
    CapacityError
        It does.
    """
    if amount > limit:
        raise CapacityError(
            f"{amount:,} {what}, more than the {limit:,} that any board is taken to hold", where=layer, remedy=remedy
        )
