"""The clock of a design before it is placed: a guess.

The longest wires grow with the side of the placed area, so the period is taken to be linear in the root of the LUTs:
near the medians of the two designs that ``bench/run.py`` has routed on the slowest speed grade, digits on 3x8x1 (4,135
LUTs, 131.1 MHz) and keyword spotting on 9x8x1 (10,908 LUTs before columns could select their own channel, 128.3 MHz).
Of larger ones only single seeds are known (``docs/next.md``): 4% slower than this says, at 29,700 LUTs. A device that
is nearly full is slower too. It ranks arrays; the clock of a bitstream is the one that it was routed with. A test
compares the constants with ``bench/results``.
"""

from math import sqrt

PERIOD_NS, PERIOD_NS_PER_ROOT_LUT = 7.02, 0.0074


def estimated_hz(luts: float) -> float:
    """Return the clock of a design of so many LUTs.

    >>> round(estimated_hz(10_000) / 1e6)
    129
    """
    return 1e9 / (PERIOD_NS + PERIOD_NS_PER_ROOT_LUT * sqrt(luts))
