"""Pruning: a network file with weights made zero in the patterns that the array turns into fewer cycles."""

from heddle.gen.pruning.criteria import Criterion
from heddle.gen.pruning.oneshot import prune_file
from heddle.gen.pruning.request import Request, Scope
from heddle.gen.pruning.result import LayerResult, Pruned, Quality

__all__ = ["Criterion", "LayerResult", "Pruned", "Quality", "Request", "Scope", "prune_file"]
