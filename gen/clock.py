"""The clock of a design before it is placed: a guess.

The longest wires grow with the side of the placed area, so the period is taken to be linear in the root of the LUTs:
within 10% of the medians that ``bench/run.py`` has recorded on the slowest speed grade: digits on 3x8x1, keyword
spotting on 9x8x1 (of earlier hardware) and 9x16x2, ResNet8 on 9x16x2. A device that is nearly full is slower too. It
ranks arrays; the clock of a bitstream is the one that it was routed with. A test compares the constants with
``bench/results``.
"""

from math import sqrt

PERIOD_NS, PERIOD_NS_PER_ROOT_LUT = 4.63, 0.0301


def estimated_hz(luts: float) -> float:
    """Return the clock of a design of so many LUTs.

    >>> round(estimated_hz(10_000) / 1e6)
    131
    """
    return 1e9 / (PERIOD_NS + PERIOD_NS_PER_ROOT_LUT * sqrt(luts))
