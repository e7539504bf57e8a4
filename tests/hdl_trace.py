"""A block's behaviour, cycle by cycle: what goes in and what must come out. ``heddle.sim.bench_trace`` plays it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from heddle.gen.verilog import to_verilog
from heddle.sim.runner import BenchResult, Simulator, run


class Trace:
    """Inputs and expectations, written one cycle after another.

    Inputs that a cycle does not name keep the value that :meth:`hold` gave them, 0 without.
    """

    def __init__(self, *ports: str) -> None:
        self.held = dict.fromkeys(ports, 0)
        self.cycles: list[dict[str, int]] = []
        self.checks: list[tuple[int, str, int, int, int, str]] = []

    @property
    def now(self) -> int:
        """Number of the cycle that :meth:`cycle` writes next."""
        return len(self.cycles)

    def hold(self, **values: int) -> None:
        """From now on, unless a cycle names another value."""
        self.held |= values

    def cycle(self, **values: int) -> None:
        """One cycle with these inputs."""
        assert values.keys() <= self.held.keys(), values.keys() - self.held.keys()
        self.cycles.append(self.held | values)

    def idle(self, count: int) -> None:
        """``count`` cycles with the held inputs."""
        for _ in range(count):
            self.cycle()

    def expect(self, cycle: int, port: str, value: int, place: str, *, width: int, low: int = 0) -> None:
        """``width`` bits of ``port`` from bit ``low`` are ``value`` at the end of ``cycle``; ``place`` names them."""
        self.checks.append((cycle, port, low, width, value, place))

    def parameters(self) -> dict[str, Any]:
        """For ``runner.run``."""
        drive, last = [], self.cycles[0]
        for values in self.cycles:
            drive.append({name: value for name, value in values.items() if not drive or last[name] != value})
            last = values
        return {"idle": dict.fromkeys(self.held, 0), "drive": drive, "checks": sorted(self.checks, key=lambda c: c[0])}


def follow(
    component: wiring.Component,
    trace: Trace,
    path: Path,
    *,
    simulator: Simulator = "icarus",
    library: Mapping[str, wiring.Component] | None = None,
) -> BenchResult:
    """Simulate ``component`` along ``trace``; its result's ``data`` is the number of values that were right.

    ``library`` are components that it instantiates by name.
    """
    return run(
        top="unit_under_test",
        verilog=to_verilog(component, "unit_under_test", library=library or {}),
        bench="heddle.sim.bench_trace",
        build_dir=path,
        simulator=simulator,
        parameters=trace.parameters(),
    )
