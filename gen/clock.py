"""The clock of a design before it is placed: a guess.

The longest wires grow with the side of the placed area, so the period is taken to be linear in the root of the LUTs:
within 10% of the medians that ``bench/run.py`` has recorded on the slowest speed grade: digits on 3x8x1 (4,134 LUTs,
123.5 MHz), keyword spotting on 9x8x1 (10,908, of earlier hardware, 128.3 MHz) and 9x16x2 (29,700, 104.2 MHz), ResNet8
on 9x16x2 (32,500, 97.4 MHz). A device that is nearly full is slower too. It ranks arrays; the clock of a bitstream is
the one that it was routed with. A test compares the constants with ``bench/results``.
"""

from math import sqrt

PERIOD_NS, PERIOD_NS_PER_ROOT_LUT = 6.14, 0.0215


def estimated_hz(luts: float) -> float:
    """Return the clock of a design of so many LUTs.

    >>> round(estimated_hz(10_000) / 1e6)
    121
    """
    return 1e9 / (PERIOD_NS + PERIOD_NS_PER_ROOT_LUT * sqrt(luts))
