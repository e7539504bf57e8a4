"""Carry chains without the LUTs that nextpnr adds to them: a chain of n bits takes n + 1.

nextpnr puts a CCU2C before a chain whose carry in is driven, if only by a constant as yosys always does, and one behind
a chain whose carry out is a net, if only one without users: 4 LUTs a chain. Here the first LUT of the chain itself
becomes one that makes the constant carry and lets none pass (as in nextpnr's own cell), the carry in is left open, and
so is a carry out without users; one with users comes from the sum of a last LUT. "Open" is ``"x"`` in JSON: nextpnr
fails where the pin is left out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from heddle.boards.netlists import Bit, spare_nets


class _Half(NamedTuple):
    """A LUT of a CCU2C: ``z = table[{d, c, b, a}]``, sum ``z ^ carry``, next carry ``z ? carry : table[{b, a}]``."""

    table: int
    inputs: tuple[Bit, ...]
    sum: Bit | None

    def value(self, bits: int) -> int:
        """Return ``z`` for the inputs that are not constant as in ``bits``, A lowest."""
        for index, net in enumerate(self.inputs):
            if isinstance(net, str):
                bits = bits & ~(1 << index) | (net == "1") << index
        return self.table >> bits & 1


_OPEN = "x"
_PADDING = _Half(0, ("0",) * 4, None)


def shorten_carry_chains(module: dict[str, Any]) -> None:
    """Rewrite every chain of ``module`` (of yosys' JSON) whose carry in is constant; end every other one openly."""
    cells = module["cells"]
    carries = {name: cell for name, cell in cells.items() if cell["type"] == "CCU2C"}
    uses = _uses(module)
    after = {cell["connections"]["CIN"][0]: name for name, cell in carries.items()}
    spare = spare_nets(module)
    for first in carries:
        carry_in = carries[first]["connections"]["CIN"][0]
        if carry_in not in ("0", "1"):
            continue
        names, carry_out = [first], _carry_out(carries[first])
        while uses[carry_out] == 2 and carry_out in after:
            names.append(after[carry_out])
            carry_out = _carry_out(carries[names[-1]])
        chain = [carries[name] for name in names]
        if any(cell["parameters"][f"INJECT1_{half}"] != "NO" for cell in chain for half in range(2)):
            continue
        halves = [_half(cell, index, uses) for cell in chain for index in range(2)]
        if uses[carry_out] > 1:
            halves.append(_PADDING._replace(sum=carry_out))
        while halves and halves[-1].sum is None:
            halves.pop()
        for name in names:
            del cells[name]
        if halves:
            halves, lut = _start(halves, int(carry_in))
            cells |= {f"{first}$lowest": lut} if lut is not None else {}
            cells |= _cells(halves, [*names, f"{names[-1]}$more"], chain[0], spare)
    for cell in carries.values():
        if uses[_carry_out(cell)] == 1:
            cell["connections"]["COUT"] = [_OPEN]


def _uses(module: Mapping[str, Any]) -> Counter[Bit]:
    """Return on how many pins of cells and ports of the module each net is; constants are none."""
    pins = [bits for cell in module["cells"].values() for bits in cell["connections"].values()]
    pins += [port["bits"] for port in module["ports"].values()]
    return Counter(bit for bits in pins for bit in bits if isinstance(bit, int))


def _carry_out(cell: Mapping[str, Any]) -> Bit:
    return next(iter(cell["connections"].get("COUT", [])), _OPEN)


def _half(cell: Mapping[str, Any], index: int, uses: Counter[Bit]) -> _Half:
    nets = cell["connections"]
    total = next(iter(nets.get(f"S{index}", [])), None)
    return _Half(
        table=int(cell["parameters"][f"INIT{index}"], 2),
        inputs=tuple(nets[f"{port}{index}"][0] for port in "ABCD"),
        sum=total if total is not None and uses[total] > 1 else None,
    )


def _start(halves: list[_Half], carry_in: int) -> tuple[list[_Half], dict[str, Any] | None]:
    """Return the chain from the half that makes its carry in, and a LUT for the lowest sum if that is none of it."""
    lowest = halves[0]
    # C is 1 and the upper table empty: the half passes no carry, and makes one of A and B.
    if len(halves) % 2 or not all(isinstance(net, str) for net in lowest.inputs[2:]):
        return [_Half(0xF * carry_in, ("0", "0", "1", "1"), None), *halves], None
    generated = sum(
        (carry_in if lowest.value(ab) else lowest.table >> _constants(lowest, ab) & 1) << ab for ab in range(4)
    )
    start = _Half(generated, (*lowest.inputs[:2], "1", "1"), None)
    if lowest.sum is None:
        return [start, *halves[1:]], None
    table = sum((lowest.value(bits) ^ carry_in) << bits for bits in range(16))
    return [start, *halves[1:]], _lut4(table, lowest)


def _constants(half: _Half, ab: int) -> int:
    """Return ``ab`` with those of A and B that are constant put in."""
    for index, net in enumerate(half.inputs[:2]):
        if isinstance(net, str):
            ab = ab & ~(1 << index) | (net == "1") << index
    return ab


def _lut4(table: int, half: _Half) -> dict[str, Any]:
    return {
        "hide_name": 0,
        "type": "LUT4",
        "parameters": {"INIT": f"{table:016b}"},
        "attributes": {},
        "port_directions": {**dict.fromkeys("ABCD", "input"), "Z": "output"},
        "connections": {**{port: [net] for port, net in zip("ABCD", half.inputs, strict=True)}, "Z": [half.sum]},
    }


def _cells(
    halves: list[_Half], names: list[str], like: Mapping[str, Any], spare: Iterator[int]
) -> dict[str, dict[str, Any]]:
    """Return the CCU2C of a chain, by ``names`` as far as they are needed, carries in new nets."""
    padded = [*halves, *[_PADDING] * (len(halves) % 2)]
    cells, carry = {}, _OPEN
    for index in range(0, len(padded), 2):
        following = next(spare) if index + 2 < len(padded) else _OPEN
        cells[names[index // 2]] = _ccu2c(like, padded[index : index + 2], carry, following)
        carry = following
    return cells


def _ccu2c(like: Mapping[str, Any], halves: list[_Half], carry_in: Bit, carry_out: Bit) -> dict[str, Any]:
    nets: dict[str, list[Bit]] = {}
    for index, half in enumerate(halves):
        nets |= {f"{port}{index}": [net] for port, net in zip("ABCD", half.inputs, strict=True)}
        nets |= {f"S{index}": [_OPEN if half.sum is None else half.sum]}
    return {
        "hide_name": 0,
        "type": "CCU2C",
        "parameters": {
            **like["parameters"],
            **{f"INIT{index}": f"{half.table:016b}" for index, half in enumerate(halves)},
        },
        "attributes": dict(like["attributes"]),
        "port_directions": like["port_directions"],
        "connections": {**nets, "CIN": [carry_in], "COUT": [carry_out]},
    }
