"""Move the register behind a deep memory to before the multiplexers that choose between its block RAMs.

A memory deeper than its block RAMs is several of them, one behind another, and LUTs to choose. Its output register
comes after those, where no block RAM can take it in (:mod:`heddle.boards.output_registers`): a cycle then has to hold
the block RAM's own 5.8 ns, the choice and the way to the register. This pass works on yosys' JSON netlist and moves
such registers backwards (retiming): a bit that is ``register(choice(words, select))`` becomes
``choice(register(words), register(select))``, the same in every cycle. What chooses is small, and one register of it
serves all bits; registers of the words cost nothing, once block RAMs have them.

It is done for all the bits of a read port or for none: where every used output of the port goes to one such choice and
nowhere else, the registers behind have the same clock and enable, start at zero and have no reset, and the choice
starts at zero, too.
"""

from collections import defaultdict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from heddle.boards.netlists import Bit, Sink, sinks_of, spare_nets
from heddle.boards.output_registers import has_free_register, is_plain, outputs_of, read_ports

_INPUTS = {"LUT4": ("A", "B", "C", "D"), "PFUMX": ("ALUT", "BLUT", "C0"), "L6MUX21": ("D0", "D1", "SD")}
"""Inputs of the cells that choose; the output of each is ``Z``."""

_WIRED = {"LUT4": (), "PFUMX": ("ALUT", "BLUT"), "L6MUX21": ("D0", "D1")}
"""Those of them that are wired to the LUTs beside: no register can come between."""


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Cells between words and one register.

    Parameters
    ----------
    register
        Name of the register.
    cells
        Names of the cells, each behind those that it reads.
    words, selects
        What goes in: outputs of block RAMs, two or more, and other nets.
    """

    register: str
    cells: tuple[str, ...]
    words: tuple[int, ...]
    selects: tuple[int, ...]


Port = tuple[str, str]
"""A block RAM, and the halves of its read port."""


def retime_deep_memories(module: dict[str, Any]) -> int:
    """Rewrite ``module`` (one entry of ``modules`` in yosys' JSON) and return the number of registers moved."""
    return _Retiming(module).run()


class _Retiming:
    def __init__(self, module: dict[str, Any]) -> None:
        self._cells: dict[str, Any] = module["cells"]
        self._sinks = sinks_of(module)
        self._drivers = {
            bit: name
            for name, cell in self._cells.items()
            for port, bits in cell["connections"].items()
            if cell["port_directions"][port] == "output"
            for bit in bits
        }
        self._spare = spare_nets(module)
        self._late: dict[tuple[object, ...], int] = {}

    def run(self) -> int:
        # Bits of a word, and the port that each belongs to.
        owners: dict[int, Port] = {}
        clocks: dict[Port, str] = {}
        for name, cell in self._cells.items():
            if cell["type"] == "DP16KD":
                for sides, clock_side in read_ports(cell):
                    used = [bit for bits in outputs_of(cell, sides).values() for bit in bits if self._sinks.get(bit)]
                    if used and has_free_register(cell, sides, clock_side):
                        clocks[name, sides] = clock_side
                        owners |= {bit: (name, sides) for bit in used if isinstance(bit, int)}
        choices = {bit: self._choice(bit, owners) for bit in owners}
        moved = self._complete(choices, owners, clocks)
        for choice in moved:
            self._move(choice)
        return len(moved)

    def _choice(self, word: int, owners: Mapping[int, Port]) -> _Choice | None:
        """Return what chooses between ``word`` and others, and the register behind."""
        bit, last = word, ""
        while True:
            # Where several cells choose, all lead to the same register, or it is not what is looked for.
            sinks = self._sinks.get(bit)
            if not sinks:
                return None
            sink, cell = sinks[0], self._cells.get(sinks[0].cell)
            if cell is None or cell["type"] not in _INPUTS:
                break
            (bit,), last = cell["connections"]["Z"], sink.cell
        if not last or sink.port != "DI" or cell is None or cell["type"] != "TRELLIS_FF":
            return None
        return self._cone(sink, last, owners)

    def _cone(self, register: Sink, last: str, owners: Mapping[int, Port]) -> _Choice | None:
        """Return all that leads to ``register`` through cell ``last``, if nothing else comes of the words.

        The cells are those that read words, those that are read by such, and those that are wired to them.
        """
        words, selects, cells = dict[int, None](), dict[int, None](), dict[str, bool]()

        def visit(name: str, *, wired: bool) -> bool:
            """Take a cell in, if there are words behind it or no register can follow it."""
            if name in cells:
                return cells[name]
            cell, others = self._cells[name], list[int]()
            cells[name] = wired
            for port in _INPUTS[cell["type"]]:
                for bit in cell["connections"].get(port, ()):
                    driver = self._drivers.get(bit)
                    if bit in owners:
                        words[bit] = None
                        cells[name] = True
                    elif (
                        driver is not None
                        and self._cells[driver]["type"] in _INPUTS
                        and visit(driver, wired=port in _WIRED[cell["type"]])
                    ):
                        cells[name] = True
                    elif isinstance(bit, int):
                        others.append(bit)
            if cells[name]:
                selects.update(dict.fromkeys(others))
                # Behind what it reads.
                del cells[name]
                cells[name] = True
            return cells[name]

        visit(last, wired=True)
        inside = tuple(name for name, chooses in cells.items() if chooses)
        between = [self._cells[name]["connections"]["Z"][0] for name in inside if name != last]
        if any(sink.cell not in inside for bit in (*words, *between) for sink in self._sinks[bit]):
            return None
        if len(self._sinks[self._cells[last]["connections"]["Z"][0]]) != 1 or len(words) < 2:
            return None
        choice = _Choice(register=register.cell, cells=inside, words=tuple(words), selects=tuple(selects))
        return choice if self._starts_at_zero(choice) else None

    def _starts_at_zero(self, choice: _Choice) -> bool:
        """Whether the choice is zero while the registers before it are."""
        values: dict[Bit, int] = {"0": 0, "1": 1, "x": 0, "z": 0} | dict.fromkeys((*choice.words, *choice.selects), 0)
        for name in choice.cells:
            (z,) = self._cells[name]["connections"]["Z"]
            values[z] = self._value(self._cells[name], values)
        (chosen,) = self._cells[choice.cells[-1]]["connections"]["Z"]
        return not values[chosen]

    @staticmethod
    def _value(cell: Mapping[str, Any], values: Mapping[Bit, int]) -> int:
        """Return what a cell that chooses has at its output."""
        pins = [values[(cell["connections"].get(port) or ["0"])[0]] for port in _INPUTS[cell["type"]]]
        if cell["type"] == "LUT4":
            return int(cell["parameters"]["INIT"], 2) >> sum(pin << i for i, pin in enumerate(pins)) & 1
        first, second, select = pins
        # PFUMX takes ALUT, L6MUX21 D1 where its select is 1.
        return (first if select else second) if cell["type"] == "PFUMX" else (second if select else first)

    def _complete(
        self, choices: Mapping[int, _Choice | None], owners: Mapping[int, Port], clocks: Mapping[Port, str]
    ) -> list[_Choice]:
        """Return the choices between ports all of whose bits can be registered."""
        bits_of: dict[Port, list[int]] = defaultdict(list)
        for bit, port in owners.items():
            bits_of[port].append(bit)
        good = set(bits_of)

        def fits(choice: _Choice | None) -> bool:
            if choice is None:
                return False
            register = self._cells[choice.register]
            return all(
                owners[word] in good
                and is_plain(register, self._cells[owners[word][0]]["connections"], clocks[owners[word]])
                for word in choice.words
            )

        while bad := {port for port in good if not all(fits(choices[bit]) for bit in bits_of[port])}:
            good -= bad
        found = {choices[bit] for port in good for bit in bits_of[port]}
        return sorted((choice for choice in found if choice is not None), key=lambda choice: choice.register)

    def _move(self, choice: _Choice) -> None:
        """Put registers before ``choice`` in place of the one behind it."""
        cells = self._cells
        register = cells.pop(choice.register)
        late = {bit: self._registered(bit, choice.register, register) for bit in (*choice.selects, *choice.words)}
        for name in choice.cells:
            for port in _INPUTS[cells[name]["type"]]:
                bits = cells[name]["connections"].get(port)
                if bits is not None:
                    cells[name]["connections"][port] = [late.get(bit, bit) for bit in bits]
        cells[choice.cells[-1]]["connections"]["Z"] = register["connections"]["Q"]

    def _registered(self, bit: int, name: str, register: Mapping[str, Any]) -> int:
        """Return ``bit`` a cycle later, through a register like ``register``: one, however often it is wanted."""
        connections = register["connections"]
        key = (bit, connections["CLK"][0], *connections.get("CE", ()))
        if key not in self._late:
            late = self._late[key] = next(self._spare)
            changed = {**connections, "DI": [bit], "Q": [late]}
            self._cells[f"{name}$late{bit}"] = deepcopy({**register, "connections": changed})
        return self._late[key]
