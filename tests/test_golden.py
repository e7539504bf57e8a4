"""The golden model equals TensorFlow Lite Micro and LiteRT's reference kernels, on every sample there is."""

from dataclasses import replace
from pathlib import Path

import absent
import numpy as np
import pytest
from reference import run_tflm
from reference_data import NETWORKS, network_path, samples
from tflite_builder import TFLiteBuilder, sample_network

from heddle.errors import InputError
from heddle.gen import golden
from heddle.gen.importers import load
from heddle.gen.importers.tflite_file import read
from heddle.gen.ir import Linear

DIGITS = Path(__file__).parents[1] / "examples" / "digits"


@pytest.mark.parametrize(("reference", "key"), [("tflm", "y_tflm"), ("litert", "y_litert_ref")])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_sample_of_a_reference_network_is_equal(name, reference, key) -> None:
    network = load(network_path(name), reference=reference)
    data = samples(name)
    assert np.count_nonzero(network.predict(data["x"]) != data[key]) == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_a_reference_network_is_equal(name) -> None:
    path = network_path(name)
    assert_layers_equal(path, samples(name)["x"][:2])


@pytest.mark.parametrize(("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_absent_samples_skip_a_test_or_fail_it_where_they_are_required(monkeypatch, required, outcome) -> None:
    monkeypatch.setenv(absent.SHARED, required)
    with pytest.raises(outcome, match=r"none\.npz is not here"):
        samples("none")


def test_every_layer_of_digits_is_equal() -> None:
    path = DIGITS / "digits.tflite"
    network = load(path)
    tensor = network.tensors[network.inputs[0]]
    x = np.random.default_rng(0).integers(-128, 128, (8, *tensor.sample_shape)).astype(tensor.dtype)
    assert_layers_equal(path, x)


@pytest.mark.parametrize("seed", range(8))
def test_every_layer_of_a_random_network_is_equal(tmp_path, seed) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(sample_network(seed))
    x = np.random.default_rng(seed).integers(-128, 128, (3, 12, 10, 3)).astype(np.int8)
    assert_layers_equal(path, x)


@pytest.mark.parametrize("seed", range(8))
def test_every_layer_of_a_random_network_is_alive(tmp_path, seed) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(sample_network(seed))
    network = load(path)
    values = golden.run(network, np.random.default_rng(0).integers(-128, 128, (20, 12, 10, 3)).astype(np.int8))
    # Where a layer gives the same for every sample, no comparison after it means anything.
    assert all(values[node.output].reshape(20, -1).std(axis=0).max() >= 1 for node in network.nodes)


def assert_layers_equal(path: Path, x: np.ndarray) -> None:
    """Compare the passes' result at every tensor it keeps, and the network as imported at every tensor there is."""
    model = read(path)
    indices = {tensor.name: index for index, tensor in enumerate(model.tensors)}
    for passes in (True, False):
        network = load(path, passes=passes)
        names = [node.output for node in network.nodes if node.output not in network.outputs]
        expected = run_tflm(path.read_bytes(), [x], [indices[name] for name in names])
        actual = golden.run(network, x)
        for name, reference in zip([*network.outputs, *names], expected, strict=True):
            if (kept := network.tensors[name].kept) is not None:
                reference = reference[..., kept]
            assert actual[name].dtype == reference.dtype
            assert np.array_equal(actual[name].reshape(-1), reference.reshape(-1)), name


def test_a_flipped_weight_bit_is_seen_in_the_layer_that_has_it(tmp_path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(sample_network(0))
    network = load(path)
    x = np.random.default_rng(0).integers(-128, 128, (20, 12, 10, 3)).astype(np.int8)
    good = golden.run(network, x)
    node = next(node for node in network.nodes if isinstance(node, Linear) and node.op == "FULLY_CONNECTED")
    # Where the input is the zero point in every sample a weight does not matter.
    lively = int(np.argmax(good[node.inputs[0]].reshape(20, -1).std(axis=0)))
    weight = node.weight.copy()
    weight.reshape(-1)[lively] ^= 64
    broken = replace(network, nodes=tuple(replace(n, weight=weight) if n is node else n for n in network.nodes))
    bad = golden.run(broken, x)
    differing = [n.output for n in network.nodes if not np.array_equal(good[n.output], bad[n.output])]
    assert differing[0] == node.output


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(sample_network(0))
    return load(path)


def test_predict_gives_the_same_as_run_whatever_the_number_of_samples(network) -> None:
    x = np.random.default_rng(1).integers(-128, 128, (70, 12, 10, 3)).astype(np.int8)
    everything = golden.run(network, x)
    outputs, first = golden.predict(network, x), golden.predict(network, x[:1])
    assert isinstance(outputs, dict)
    assert isinstance(first, dict)
    assert list(outputs) == list(network.outputs)
    for name in network.outputs:
        assert np.array_equal(outputs[name], everything[name])
        assert np.array_equal(first[name], everything[name][:1])
        assert outputs[name].shape == (70, *network.tensors[name].shape[1:])


def test_large_maps_are_computed_in_blocks_with_the_same_result(tmp_path, monkeypatch) -> None:
    b = TFLiteBuilder(4)
    x = b.activation((1, 17, 9, 5))
    y = b.conv_2d(x, cout=6, kernel=(3, 3), stride=(2, 1), dilation=(1, 2))
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [y]))
    network = load(path)
    samples = b.rng.integers(-128, 128, (5, 17, 9, 5)).astype(np.int8)
    whole = network.predict(samples)
    monkeypatch.setattr(golden, "_BLOCK", 900)
    again = network.predict(samples)
    assert isinstance(whole, np.ndarray)
    assert isinstance(again, np.ndarray)
    assert np.array_equal(again, whole)


def test_no_samples_give_no_outputs(network) -> None:
    outputs = golden.predict(network, np.zeros((0, 12, 10, 3), np.int8))
    assert isinstance(outputs, dict)
    assert all(len(value) == 0 for value in outputs.values())


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((2, 12, 10, 4), np.int8), ["shape", "samples, 12, 10, 3"]),
        (np.zeros((12, 10, 3), np.int8), ["shape"]),
        (np.int8(1), ["shape"]),
        (np.zeros((1, 12, 10, 3), np.float32), ["float32", "int8"]),
        (np.full((1, 12, 10, 3), 200), ["200..200", "-128..127"]),
        ({"other": np.zeros((1, 12, 10, 3), np.int8)}, ["other", "t0"]),
    ],
)
def test_wrong_samples_are_refused_with_remedy(network, samples, words) -> None:
    with pytest.raises(InputError) as refused:
        golden.run(network, samples)
    assert all(word in str(refused.value) for word in words)


def test_wider_integers_within_range_are_taken(network) -> None:
    x = np.random.default_rng(1).integers(-128, 128, (2, 12, 10, 3))
    name = network.outputs[0]
    assert np.array_equal(golden.run(network, x)[name], golden.run(network, x.astype(np.int8))[name])


def test_inputs_of_different_numbers_of_samples_are_refused(tmp_path) -> None:
    b = TFLiteBuilder(1)
    x, y = b.activation((1, 4)), b.activation((1, 4))
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x, y], [b.add(x, y)]))
    network = load(path)
    with pytest.raises(InputError, match="samples"):
        golden.run(network, {"t0": np.zeros((2, 4), np.int8), "t1": np.zeros((3, 4), np.int8)})
    with pytest.raises(InputError, match="one array given for 2 inputs"):
        golden.run(network, np.zeros((2, 4), np.int8))


def test_float_samples_that_are_not_finite_are_refused(tmp_path) -> None:
    b = TFLiteBuilder(1)
    x = b.tensor((1, 4), "float32")
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [b.unary("QUANTIZE", x, b.activation((1, 4)))]))
    with pytest.raises(InputError, match="finite"):
        load(path).predict(np.array([[0, 1, np.nan, 2]], np.float32))
