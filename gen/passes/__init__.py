"""Rewrites of the IR, one per file; ``PIPELINE`` is the order they run in.

A pass takes a :class:`~heddle.gen.ir.Network` and returns one that gives the same outputs for every input;
:func:`~heddle.gen.passes.verify.verify` holds before and after each. After all of them host nodes are at the edges.
"""

from collections.abc import Callable

from heddle.gen.ir import Network
from heddle.gen.passes.absorb_flatten import absorb_flatten
from heddle.gen.passes.compose_tables import compose_tables
from heddle.gen.passes.fold_padding import fold_padding
from heddle.gen.passes.remove_dead import remove_dead
from heddle.gen.passes.remove_dead_channels import remove_dead_channels
from heddle.gen.passes.remove_reshapes import remove_reshapes
from heddle.gen.passes.verify import check_edges, verify

PIPELINE: tuple[Callable[[Network], Network], ...] = (
    remove_dead,
    remove_reshapes,
    absorb_flatten,
    fold_padding,
    compose_tables,
    remove_dead,
    remove_dead_channels,
)


def run_pipeline(network: Network) -> Network:
    """Bring ``network`` into the form that mapping expects.

    Raises
    ------
    UnsupportedError
        A node that only the host can execute lies inside the network.
    ValueError
        ``network`` is malformed, or a pass made it so: a mistake in Heddle, not in the file.
    """
    verify(network)
    for rewrite in PIPELINE:
        network = rewrite(network)
        verify(network)
    check_edges(network)
    return network
