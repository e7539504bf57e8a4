"""A plan as a table, as lines and as data: what ``heddle plan`` shows."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from heddle.gen.console import table
from heddle.gen.planner import Candidate, Plan
from heddle.hdl.config import ArrayConfig

SHOWN = 12
"""Candidates in the table."""


def plan_table(plan: Plan) -> Table:
    """One row per array that was mapped, best first."""
    result = table("array", ">M", ">q", ">stream", ">cycles", ">interval", ">MHz", ">ms", ">device", "refused")
    for candidate in plan.candidates[:SHOWN]:
        array = candidate.array
        result.add_row(
            str(array),
            str(array.block) if isinstance(array, ArrayConfig) else "",
            str(array.requantizers),
            str(array.stream_bytes),
            f"{candidate.cycles:,}",
            f"{candidate.interval_cycles:,}",
            f"{candidate.clock_hz / 1e6:.0f}",
            f"{candidate.seconds * 1e3:.4g}",
            f"{candidate.share:.0%}",
            candidate.refusal,
        )
    return result


def plan_lines(plan: Plan) -> list[str]:
    """Say what was chosen, from what, and how to have it again."""
    chosen, mapped = plan.chosen, len(plan.candidates)
    array = chosen.array
    block = f" --block {array.block}" if isinstance(array, ArrayConfig) else ""
    options = f"--array {array}{block} --requantizers {array.requantizers}"
    passed = "; ".join(f"{count:,} {reason}" for reason, count in plan.passed.items())
    lines = [
        f"chosen       {options} --stream-bytes {array.stream_bytes}",
        f"objective    {plan.objective.value}, on {plan.board.name} ({plan.board.device.part})",
        f"latency      about {chosen.seconds * 1e3:.3g} ms at {chosen.clock_hz / 1e6:.0f} MHz, a guess before routing",
        f"mapped       {mapped:,} of {plan.considered:,} arrays; the others: {passed or 'none'}",
    ]
    if not plan.complete:
        lines.append("note         the search was cut short: another array may be better")
    return lines


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return all of it as plain data."""
    return {
        "objective": plan.objective.value,
        "board": plan.board.name,
        "part": plan.board.device.part,
        "chosen": _data(plan.chosen),
        "resources": plan.fitted.resources.to_json(),
        "complete": plan.complete,
        "candidates": [_data(candidate) for candidate in plan.candidates],
        "passed": dict(plan.passed),
    }


def _data(candidate: Candidate) -> dict[str, Any]:
    return {
        "array": {
            "shape": str(candidate.array),
            **asdict(candidate.array),
            "requantizers": candidate.array.requantizers,
        },
        "least_cycles": candidate.least_cycles,
        "cycles": candidate.cycles,
        "interval_cycles": candidate.interval_cycles,
        "clock_mhz_estimate": round(candidate.clock_hz / 1e6, 1),
        "ms_estimate": round(candidate.seconds * 1e3, 5),
        "share_estimate": round(candidate.share, 4),
        "refusal": candidate.refusal,
    }
