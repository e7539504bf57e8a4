"""Errors a user can cause. Each names the place, the fact and the remedy."""


class HeddleError(Exception):
    """One line for a person: ``where: fact; remedy``.

    The command line prints it and exits with status 1.
    """

    def __init__(self, fact: str, *, where: str, remedy: str) -> None:
        self.fact, self.where, self.remedy = fact, where, remedy
        super().__init__(f"{where}: {fact}; {remedy}")


class FileFormatError(HeddleError):
    """The file is truncated, malformed, hostile, or not a network file."""


class UnsupportedError(HeddleError):
    """An operator, type or shape that Heddle cannot execute exactly."""


class CapacityError(HeddleError):
    """The network does not fit the array or the board: by how much, of what."""


class InputError(HeddleError):
    """Samples or options that do not match the network."""


class ToolError(HeddleError):
    """An external tool is missing, too old, or failed."""


class LinkError(HeddleError):
    """A device that does not answer, answers otherwise than it should, or is another one than was meant."""
