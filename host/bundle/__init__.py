"""The deploy bundle: one zip with all that it takes to flash, run, check and rebuild an accelerator elsewhere."""

from heddle.host.bundle.bundle import Bundle, make_bundle, read_licences
from heddle.host.bundle.vectors import Vectors

__all__ = ["Bundle", "Vectors", "make_bundle", "read_licences"]
