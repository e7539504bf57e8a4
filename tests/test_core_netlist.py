"""A whole core after synthesis: memories in DP16KD, products in MULT18X18D, registers absorbed; still exact."""

from pathlib import Path

import numpy as np
import pytest
from random_networks import random_inputs
from tflite_builder import TFLiteBuilder

from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.hdl.config import ArrayConfig
from heddle.sim.netlist import netlist_verilog
from heddle.sim.network import simulate


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Design:
    """A convolution with padding, a depthwise layer, a residual and a pool, on a tiny array that has all units."""
    b = TFLiteBuilder(3)
    x = b.activation((1, 5, 4, 3))
    stem = b.conv_2d(x, cout=4, kernel=(3, 3), activation="RELU")
    inner = b.depthwise_conv_2d(stem, kernel=(3, 3))
    total = b.add(stem, inner)
    y = b.pool_2d("MAX_POOL_2D", total, kernel=(2, 2), stride=(2, 2))
    path = tmp_path_factory.mktemp("core") / "core.tflite"
    path.write_bytes(b.finish([x], [y]))
    array = ArrayConfig(rows=2, cols=2, block=2, requantizers=1, primitive="mult18x18d")
    return compile_network(load(path), array)


@pytest.mark.slow
def test_netlist_of_a_whole_core_is_exact_in_the_cycles_of_the_rtl(design: Design, tmp_path: Path) -> None:
    (tmp_path / "design.v").write_text(design.verilog())
    netlist = netlist_verilog(tmp_path / "design.v", design.name, tmp_path / "netlist.v").read_text()
    assert "DP16KD" in netlist
    assert "MULT18X18D" in netlist
    x = random_inputs(design.network, 2)
    result = simulate(design, x, simulator="icarus", verilog=netlist, build_dir=tmp_path / "sim")
    assert result.mismatches == 0, str(result.first_difference)
    assert set(result.cycles) == {design.cycles}
    assert np.array_equal(np.asarray(result.outputs), np.asarray(design.network.predict(x)))
