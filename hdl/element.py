"""Processing elements, and the selectors that make them pruning-aware: modules of their own, instantiated by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.multiplier import Primitive
from heddle.hdl.products import PRODUCT_LATENCY, ProductPrimitive, product
from heddle.hdl.selection import selected


class Selector(wiring.Component):
    """``activation = block[select]``, registered: each weight's own channel of a block, or one for a whole plane.

    Latency 1 cycle, throughput one selection per cycle; no stall, a register without reset.
    """

    LATENCY = 1

    block: data.View
    select: Signal
    activation: Signal

    def __init__(self, *, block: int, primitive: Primitive) -> None:
        self.block_size = block
        self.primitive: Primitive = primitive
        super().__init__(
            {
                "block": In(data.ArrayLayout(signed(8), block)),
                "select": In(range(block)),
                "activation": Out(signed(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        items = [self.block[i] for i in range(self.block_size)]
        # A register of its own: the multiplexer, then the way to the multiplier.
        activation = Signal(signed(8), name="selected", reset_less=True)
        m.d.sync += activation.eq(selected(m, items, self.select, primitive=self.primitive))
        m.d.comb += self.activation.eq(activation)
        return m


class ProcessingElement(wiring.Component):
    """``p = weight * activation``, exact in 16 bits.

    Latency :attr:`LATENCY` cycles, throughput one product per cycle; a static pipeline without reset.
    """

    LATENCY = PRODUCT_LATENCY

    activation: Signal
    weight: Signal
    p: Signal

    def __init__(self, *, primitive: ProductPrimitive) -> None:
        self.primitive: ProductPrimitive = primitive
        super().__init__({"activation": In(signed(8)), "weight": In(signed(8)), "p": Out(signed(16))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.product = unit = product(self.primitive)
        m.d.comb += [unit.a.eq(self.activation), unit.b.eq(self.weight), self.p.eq(unit.p)]
        return m


class PlaneSelector(wiring.Component):
    """``activations[k] = block[k] if diagonal else block[select]``, registered: for all columns of a plane.

    Column ``c`` takes activation ``c mod M``. Latency 1 cycle, throughput one selection per cycle; no stall, registers
    without reset.
    """

    LATENCY = Selector.LATENCY

    block: data.View
    select: Signal
    diagonal: Signal
    activations: data.View

    def __init__(self, *, block: int, primitive: Primitive) -> None:
        self.block_size = block
        self.primitive: Primitive = primitive
        channels = data.ArrayLayout(signed(8), block)
        super().__init__(
            {"block": In(channels), "select": In(range(block)), "diagonal": In(1), "activations": Out(channels)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        items = [self.block[i] for i in range(self.block_size)]
        shared = selected(m, items, self.select, primitive=self.primitive)
        for k, own in enumerate(items):
            activation = Signal(signed(8), name=f"selected{k}", reset_less=True)
            m.d.sync += activation.eq(Mux(self.diagonal, own, shared))
            m.d.comb += self.activations[k].eq(activation)
        return m


@dataclass(frozen=True, kw_only=True)
class ElementLibrary:
    """Modules of elements and selectors, elaborated once and instantiated by name: an array has hundreds of few kinds.

    Parameters
    ----------
    name
        What the names of the modules begin with.
    block
        M.
    primitive
        What all but products is made of: plain operators, or ECP5's cells.
    products
        What products are made of: a module for each.
    """

    name: str
    block: int
    primitive: Primitive
    products: frozenset[ProductPrimitive]

    @property
    def modules(self) -> Mapping[str, wiring.Component]:
        """All of them by the names of their modules."""
        elements = {self._element(kind): ProcessingElement(primitive=kind) for kind in self.products}
        selectors: dict[str, wiring.Component] = {
            self._selector: Selector(block=self.block, primitive=self.primitive),
            self._plane_selector: PlaneSelector(block=self.block, primitive=self.primitive),
        }
        return MappingProxyType({**selectors, **dict(sorted(elements.items()))})

    def select(self, *, block: Value, select: Value, activation: Value) -> Instance:
        """Instantiate a selector; its ports are those of :class:`Selector`."""
        return self._instance(self._selector, i_block=block, i_select=select, o_activation=activation)

    def select_plane(self, *, block: Value, select: Value, diagonal: Value, activations: Value) -> Instance:
        """Instantiate a selector of a plane; its ports are those of :class:`PlaneSelector`."""
        return self._instance(
            self._plane_selector, i_block=block, i_select=select, i_diagonal=diagonal, o_activations=activations
        )

    def multiply(self, primitive: ProductPrimitive, *, activation: Value, weight: Value, p: Value) -> Instance:
        """Instantiate an element; its ports are those of :class:`ProcessingElement`."""
        return self._instance(self._element(primitive), i_activation=activation, i_weight=weight, o_p=p)

    @property
    def _selector(self) -> str:
        return f"{self.name}_select"

    @property
    def _plane_selector(self) -> str:
        return f"{self.name}_select_plane"

    def _element(self, primitive: ProductPrimitive) -> str:
        return f"{self.name}_{primitive}"

    @staticmethod
    def _instance(module: str, **ports: Value) -> Instance:
        return Instance(module, i_clk=ClockSignal(), i_rst=Const(0, 1), **ports)
