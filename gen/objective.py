"""What an array is chosen for. A module of its own: the command line knows it without importing the compiler."""

from enum import StrEnum


class Objective(StrEnum):
    """What to have the least of."""

    LATENCY = "latency"
    """Seconds of one inference, from the first beat in to the last beat out."""
    THROUGHPUT = "throughput"
    """Seconds between inferences that follow each other."""
    AREA = "area"
    """Share of the device: the mean of LUTs, flip-flops, multipliers and block RAMs."""
