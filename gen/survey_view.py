"""A surveyed network file and the boards' verdicts, as tables and as data: what ``heddle inspect`` shows."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from heddle.gen.console import table
from heddle.gen.fitting import Verdict, describe
from heddle.gen.importers import Survey
from heddle.gen.importers.survey import SurveyedLayer, SurveyedTensor


def layer_table(survey: Survey) -> Table:
    """One row per operator of the file."""
    result = table("layer", "operator", "output", ">MACs", ">parameters", ">zeros", "supported")
    for layer in survey.layers:
        result.add_row(
            layer.name,
            layer.op,
            ", ".join(f"{'x'.join(map(str, tensor.shape))} {tensor.dtype}" for tensor in layer.outputs),
            f"{layer.macs:,}" if layer.macs else "",
            f"{layer.params:,}" if layer.params else "",
            f"{layer.zeros / layer.params:.0%}" if layer.params else "",
            _support(layer),
        )
    return result


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """One row per board."""
    result = table("board", "part", "fits", "how")
    for verdict in verdicts:
        if verdict.array:
            smaller = f" (smaller than its own: {verdict.reason})" if verdict.reason else ""
            row = ("yes", f"array {describe(verdict.array)}{smaller}")
        else:
            row = ("perhaps: generate tells" if verdict.possible else "no", verdict.reason)
        result.add_row(verdict.board, verdict.part, *row)
    return result


def survey_data(survey: Survey, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return what the tables show as plain data."""
    return {
        "name": survey.name,
        "sha256": survey.sha256,
        "size_bytes": survey.size_bytes,
        "macs": survey.macs,
        "params": survey.params,
        "zeros": survey.zeros,
        "supported": survey.supported,
        "inputs": [_tensor(tensor) for tensor in survey.inputs],
        "outputs": [_tensor(tensor) for tensor in survey.outputs],
        "layers": [_layer(layer) for layer in survey.layers],
        "problems": [
            {"where": problem.where, "fact": problem.fact, "remedy": problem.remedy} for problem in survey.problems
        ],
        "boards": [verdict.to_json() for verdict in verdicts],
    }


def _support(layer: SurveyedLayer) -> str:
    if layer.problem is not None:
        return f"no: {layer.problem.fact}"
    return "folded away" if layer.folded else "yes"


def _layer(layer: SurveyedLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "inputs": [_tensor(tensor) for tensor in layer.inputs],
        "outputs": [_tensor(tensor) for tensor in layer.outputs],
        "macs": layer.macs,
        "params": layer.params,
        "zeros": layer.zeros,
        "supported": layer.supported,
        "folded": layer.folded,
        "problem": None if layer.problem is None else str(layer.problem),
    }


def _tensor(tensor: SurveyedTensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
