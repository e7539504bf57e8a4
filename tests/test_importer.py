"""Each operator, alone and in small networks, equals TensorFlow Lite Micro for random geometry and quantization."""

import numpy as np
import pytest
from equality import assert_equal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_builder import TFLiteBuilder

from heddle.gen.importers import load, survey
from heddle.gen.ir import Linear, Quantize, Table

PADDINGS = st.sampled_from(["SAME", "VALID"])
ACTIVATIONS = st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
KERNELS = st.tuples(st.integers(1, 5), st.integers(1, 5))
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))
DILATIONS = st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3), (2, 2)])

# The folder is only written to: that examples share it does no harm.
many = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fitting(size, kernel, dilation, padding):
    """Shrink a kernel until it fits the map."""
    if padding == "SAME":
        return kernel
    return tuple(min(k, (s - 1) // d + 1) for s, k, d in zip(size, kernel, dilation, strict=True))


@many
@given(SEEDS, SIZES, st.sampled_from([1, 2, 3, 4, 7, 8]), st.sampled_from([1, 2, 5, 8]), KERNELS, STRIDES, DILATIONS,
       PADDINGS, ACTIVATIONS, st.booleans(), st.booleans())  # fmt: skip
def test_convolution(
    tmp_path, seed, size, cin, cout, kernel, stride, dilation, padding, activation, per_channel, bias
) -> None:
    b = TFLiteBuilder(seed, per_channel=per_channel)
    x = b.activation((1, *size, cin))
    kernel = fitting(size, kernel, dilation, padding)
    y = b.conv_2d(
        *(x,), cout=cout, kernel=kernel, stride=stride, dilation=dilation, padding=padding, activation=activation,
        bias=bias,
    )  # fmt: skip
    assert_equal(tmp_path, b, [x], [y], count=2)


@few
@given(SEEDS, st.sampled_from([(2, 4, 6), (3, 9, 3), (4, 4, 8)]), PADDINGS, st.booleans())
def test_grouped_convolution(tmp_path, seed, channels, padding, per_channel) -> None:
    groups, cin, cout = channels
    b = TFLiteBuilder(seed, per_channel=per_channel)
    x = b.activation((1, 6, 5, (cin // groups) * groups))
    network = assert_equal(
        tmp_path, b, [x], [b.conv_2d(x, cout=(cout // groups) * groups, groups=groups, padding=padding)], count=2
    )
    assert [node.groups for node in network.nodes if isinstance(node, Linear)] == [groups]


@many
@given(SEEDS, SIZES, st.sampled_from([1, 3, 4, 8]), st.integers(1, 4), KERNELS, STRIDES, DILATIONS, PADDINGS,
       ACTIVATIONS, st.booleans())  # fmt: skip
def test_depthwise_convolution(
    tmp_path, seed, size, cin, multiplier, kernel, stride, dilation, padding, activation, per_channel
) -> None:
    b = TFLiteBuilder(seed, per_channel=per_channel)
    x = b.activation((1, *size, cin))
    kernel = fitting(size, kernel, dilation, padding)
    y = b.depthwise_conv_2d(
        *(x,), multiplier=multiplier, kernel=kernel, stride=stride, dilation=dilation, padding=padding,
        activation=activation,
    )  # fmt: skip
    assert_equal(tmp_path, b, [x], [y], count=2)


@many
@given(SEEDS, st.integers(1, 300), st.integers(1, 40), ACTIVATIONS, st.booleans(), st.booleans(),
       st.sampled_from(["tflm", "litert"]))  # fmt: skip
def test_fully_connected(tmp_path, seed, length, cout, activation, per_channel, bias, reference) -> None:
    b = TFLiteBuilder(seed, per_channel=per_channel)
    x = b.activation((1, length))
    y = b.fully_connected(x, cout=cout, activation=activation, bias=bias)
    assert_equal(tmp_path, b, [x], [y], count=10, reference=reference)


@pytest.mark.parametrize("shape", [(1, 7, 6), (1, 1, 7, 6), (1, 5, 3, 6)])
def test_fully_connected_over_several_rows_is_a_convolution_of_one_by_one(tmp_path, shape) -> None:
    b = TFLiteBuilder(1)
    x = b.activation(shape)
    network = assert_equal(tmp_path, b, [x], [b.fully_connected(x, cout=4, keep_num_dims=True)])
    (node,) = network.nodes
    assert isinstance(node, Linear)
    assert node.weight.shape == (4, 1, 1, 6)


def test_fully_connected_between_reshapes_of_a_sequence(tmp_path) -> None:
    b = TFLiteBuilder(1)
    x = b.activation((1, 7, 6))
    dense = b.fully_connected(b.reshape(x, (7, 6)), cout=4)
    network = assert_equal(tmp_path, b, [x], [b.reshape(dense, (1, 7, 4))])
    assert len(network.nodes) == 1


@many
@given(SEEDS, st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"]), SIZES, st.integers(1, 9), KERNELS, STRIDES, PADDINGS,
       ACTIVATIONS)  # fmt: skip
def test_pooling(tmp_path, seed, op, size, channels, kernel, stride, padding, activation) -> None:
    b = TFLiteBuilder(seed)
    x = b.activation((1, *size, channels))
    kernel = fitting(size, kernel, (1, 1), padding)
    y = b.pool_2d(op, x, kernel=kernel, stride=stride, padding=padding, activation=activation)
    assert_equal(tmp_path, b, [x], [y], count=3)


@many
@given(SEEDS, SIZES, st.integers(1, 20), st.booleans(), st.booleans())
def test_mean_over_space(tmp_path, seed, size, channels, keep_dims, same) -> None:
    b = TFLiteBuilder(seed)
    x = b.activation((1, *size, channels))
    assert_equal(tmp_path, b, [x], [b.mean(x, keep_dims=keep_dims, same=same)])


@pytest.mark.parametrize(
    ("shape", "axes"), [((1, 9, 6), [1]), ((1, 9, 1, 6), [1]), ((1, 3, 4, 6), [-3, -2]), ((1, 3, 4, 6), [2, 1])]
)
def test_mean_over_the_axes_that_are_space(tmp_path, shape, axes) -> None:
    b = TFLiteBuilder(2)
    x = b.activation(shape)
    y = b.activation((1, 6), scale=b.scale(x) / 2) if shape != (1, 9, 1, 6) else b.activation((1, 1, 6))
    b.op("MEAN", [x, b.integers(axes)], [y], "ReducerOptions", KeepDims=False)
    assert_equal(tmp_path, b, [x], [y])


@many
@given(SEEDS, st.sampled_from(["ADD", "SUB"]), ACTIVATIONS)
def test_addition(tmp_path, seed, op, activation) -> None:
    b = TFLiteBuilder(seed)
    x, y = b.activation((1, 8, 8, 16)), b.activation((1, 8, 8, 16))
    assert_equal(tmp_path, b, [x, y], [b.add(x, y, op=op, activation=activation)], count=2)


def test_addition_of_a_tensor_to_itself(tmp_path) -> None:
    b = TFLiteBuilder(1)
    x = b.activation((1, 256))
    assert_equal(tmp_path, b, [x], [b.add(x, x)])


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
def test_concatenation(tmp_path, axis) -> None:
    b = TFLiteBuilder(3)
    x = b.activation((1, 3, 4, 5))
    shape = [1, 3, 4, 5]
    shape[axis] = 2
    y = b.like(x, shape)
    assert_equal(tmp_path, b, [x, y], [b.concatenation([x, y, x], axis=axis)])


@pytest.mark.parametrize("shapes", [[(1, 5), (1, 3)], [(1, 4, 5), (1, 4, 2)]])
def test_concatenation_of_vectors_and_sequences(tmp_path, shapes) -> None:
    b = TFLiteBuilder(3)
    x = b.activation(shapes[0])
    y = b.like(x, shapes[1])
    assert_equal(tmp_path, b, [x, y], [b.concatenation([x, y], axis=len(shapes[0]) - 1)])


@pytest.mark.parametrize("value", [None, -128, 5])
@pytest.mark.parametrize("amounts", [[(0, 0), (1, 2), (3, 0), (0, 0)], [(0, 0), (0, 1), (0, 0), (2, 1)]])
def test_padding(tmp_path, amounts, value) -> None:
    b = TFLiteBuilder(4)
    x = b.activation((1, 3, 4, 5))
    assert_equal(tmp_path, b, [x], [b.pad(x, amounts, value=value)])


@many
@given(SEEDS, st.integers(1, 40), st.floats(0.001, 2), st.floats(0.1, 4))
def test_softmax(tmp_path, seed, classes, scale, beta) -> None:
    b = TFLiteBuilder(seed)
    x = b.activation((1, classes), scale=scale)
    assert_equal(tmp_path, b, [x], [b.softmax(x, beta=beta)], count=20)


def test_softmax_over_each_row(tmp_path) -> None:
    b = TFLiteBuilder(5)
    x = b.activation((1, 6, 4))
    assert_equal(tmp_path, b, [x], [b.softmax(x)])


@pytest.mark.parametrize("axis", [-1, 1])
def test_arg_max_is_the_first_of_equals(tmp_path, axis) -> None:
    b = TFLiteBuilder(6)
    x = b.activation((1, 9))
    y = b.op("ARG_MAX", [x, b.integers([axis])], [b.tensor((1,), "int32")], "ArgMaxOptions", OutputType=2)
    samples = b.rng.integers(-2, 2, (50, 9)).astype(np.int8)
    assert_equal(tmp_path, b, [x], [y], samples=[samples])


@few
@given(SEEDS, st.sampled_from(["float32", "uint8"]))
def test_quantization_at_the_input(tmp_path, seed, dtype) -> None:
    b = TFLiteBuilder(seed)
    x = b.tensor((1, 64), "float32") if dtype == "float32" else b.activation((1, 64), dtype="uint8")
    q = b.unary("QUANTIZE", x, b.activation((1, 64)))
    network = assert_equal(tmp_path, b, [x], [b.fully_connected(q, cout=5)], count=20)
    assert isinstance(network.nodes[0], Quantize)


@few
@given(SEEDS, st.sampled_from(["float32", "uint8"]))
def test_quantization_at_the_output(tmp_path, seed, dtype) -> None:
    b = TFLiteBuilder(seed)
    x = b.activation((1, 64))
    y = b.fully_connected(x, cout=50)
    out = b.tensor((1, 50), "float32") if dtype == "float32" else b.activation((1, 50), scale=0.1, dtype="uint8")
    assert_equal(tmp_path, b, [x], [b.unary("DEQUANTIZE" if dtype == "float32" else "QUANTIZE", y, out)])


def test_quantization_of_ties_and_of_values_beyond_the_range(tmp_path) -> None:
    b = TFLiteBuilder(0)
    x = b.tensor((1, 12), "float32")
    y = b.unary("QUANTIZE", x, b.activation((1, 12), scale=0.5, zero_point=3))
    values = np.array([[0.25, -0.25, 0.75, -0.75, 1e6, -1e6, 0.249999, -0.249999, 62, 62.25, -65.5, 1e-30]], np.float32)
    assert_equal(tmp_path, b, [x], [y], samples=[values])


@pytest.mark.parametrize("seed", range(6))
def test_litert_differs_in_nothing_but_the_rounding_of_fully_connected(tmp_path, seed) -> None:
    b = TFLiteBuilder(seed, per_channel=seed % 2 == 0)
    x = b.activation((1, 9, 8, 4))
    conv = b.conv_2d(x, cout=8, activation="RELU")
    deep = b.depthwise_conv_2d(conv, stride=(2, 2), activation="RELU6")
    total = b.add(deep, b.pool_2d("MAX_POOL_2D", conv, kernel=(2, 2), stride=(2, 2), padding="SAME"))
    pooled = b.pool_2d("AVERAGE_POOL_2D", total, kernel=(3, 2), stride=(1, 1), padding="SAME")
    logits = b.fully_connected(b.reshape(pooled, (1, 160)), cout=30)
    outputs = [b.mean(total), b.mean(total, keep_dims=True, same=True), b.softmax(logits)]
    assert_equal(tmp_path, b, [x], outputs, count=20, reference="litert")


@pytest.mark.parametrize("scale", [2.0, 30.0, 500.0])
def test_multipliers_above_one_shift_to_the_left(tmp_path, scale) -> None:
    b = TFLiteBuilder(3)
    x = b.activation((1, 3), scale=1.0, zero_point=0)
    data = b.rng.integers(-3, 4, (20, 3)).astype(np.int8)
    weight = b.tensor((20, 3), scales=[scale], zero_points=[0], data=data)
    y = b.activation((1, 20), scale=1.0)
    b.op("FULLY_CONNECTED", [x, weight], [y], "FullyConnectedOptions")
    samples = b.rng.integers(-3, 4, (40, 3)).astype(np.int8)
    for reference in REFERENCES:
        network = assert_equal(tmp_path, b, [x], [y], samples=[samples], reference=reference)
        (node,) = network.nodes
        assert isinstance(node, Linear)
        assert (node.shift > 0).all()


def test_several_inputs_and_outputs_keep_the_order_of_the_file(tmp_path) -> None:
    b = TFLiteBuilder(7)
    x, y = b.activation((1, 4, 4, 3)), b.activation((1, 6))
    conv, dense = b.conv_2d(x, cout=2), b.fully_connected(y, cout=3)
    network = assert_equal(tmp_path, b, [y, x], [dense, conv])
    assert (network.inputs, network.outputs) == (("t1", "t0"), (f"t{dense}", f"t{conv}"))


def test_shape_code_of_a_dynamic_batch_is_folded(tmp_path) -> None:
    b = TFLiteBuilder(8)
    x = b.activation((1, 4, 3, 2))
    shape = b.op("SHAPE", [x], [b.tensor((4,), "int32")])
    bounds = [b.integers([value]) for value in (0, 1, 1)]
    batch = b.op("STRIDED_SLICE", [shape, *bounds], [b.tensor((), "int32")], "StridedSliceOptions", ShrinkAxisMask=1)
    target = b.op("PACK", [batch, b.integers(24)], [b.tensor((2,), "int32")], "PackOptions", ValuesCount=2)
    flat = b.op("RESHAPE", [x, target], [b.like(x, (1, 24))])
    network = assert_equal(tmp_path, b, [x], [b.fully_connected(flat, cout=3)])
    assert [node.name for node in network.nodes] == ["fully_connected_4"]
    assert [layer.folded for layer in survey(tmp_path / "net.tflite").layers] == [True, True, True, False, False]


def test_weights_of_minus_128_are_kept(tmp_path) -> None:
    b = TFLiteBuilder(9)
    x = b.activation((1, 64))
    weight = b.tensor((3, 64), scales=[0.01], zero_points=[0], data=np.full((3, 64), -128, np.int8))
    y = b.activation((1, 3), scale=b.scale(x) * 10)
    b.op("FULLY_CONNECTED", [x, weight], [y], "FullyConnectedOptions")
    network = assert_equal(tmp_path, b, [x], [y])
    (node,) = network.nodes
    assert isinstance(node, Linear)
    assert node.weight.min() == -128


TABLES = ["ABS", "ELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "QUANTIZE", "RELU", "RELU6", "RSQRT", "TANH"]
REFERENCES = ["tflm", "litert"]
ALL_VALUES = np.arange(-128, 128).astype(np.int8).reshape(1, 1, 1, 256)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("op", TABLES)
def test_table_of_a_function_is_equal_for_every_value(tmp_path, op, seed) -> None:
    b = TFLiteBuilder(seed)
    x = b.activation((1, 1, 1, 256), zero_point=-128 if op == "RSQRT" else None)
    match op:
        case "LOGISTIC":
            y = b.activation(b.shape(x), scale=1 / 256, zero_point=-128)
        case "TANH":
            y = b.activation(b.shape(x), scale=1 / 128, zero_point=0)
        case "RELU6":
            y = b.like(x, b.shape(x))
        case "RSQRT":
            y = b.activation(b.shape(x))
        case _:
            y = b.activation(b.shape(x), scale=b.scale(x) * float(b.rng.uniform(0.3, 3)))
    options = {"Alpha": float(b.rng.uniform(0, 1.5))} if op == "LEAKY_RELU" else {}
    b.unary(op, x, y, "LeakyReluOptions" if options else "", **options)
    for reference in REFERENCES if op != "ELU" else ["tflm"]:  # LiteRT's reference kernels do not have it
        network = assert_equal(tmp_path, b, [x], [y], samples=[ALL_VALUES], reference=reference)
        assert [type(node) for node in network.nodes] == [Table]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "PRELU", "MAXIMUM", "MINIMUM"])
def test_table_of_an_operator_with_a_scalar_constant_is_equal_for_every_value(tmp_path, op, seed) -> None:
    b = TFLiteBuilder(seed)
    x = b.activation((1, 1, 1, 256))
    value = int(b.rng.integers(-128, 128))
    if op in ("MAXIMUM", "MINIMUM"):
        y = b.like(x, b.shape(x))
        constant = b.scalar_like(x, value)
    else:
        y = b.activation(b.shape(x), scale=b.scale(x) * float(b.rng.uniform(0.6, 3)))
        constant = b.scalar(value, scale=b.scale(x) * float(b.rng.uniform(0.1, 1)))
    operands = [constant, x] if seed % 2 and op != "PRELU" else [x, constant]
    kinds = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}
    fused = {"FusedActivationFunction": seed % 4} if op in kinds else {}
    b.op(op, operands, [y], kinds.get(op, ""), **fused)
    for reference in REFERENCES if op != "ELU" else ["tflm"]:  # LiteRT's reference kernels do not have it
        network = assert_equal(tmp_path, b, [x], [y], samples=[ALL_VALUES], reference=reference)
        assert [type(node) for node in network.nodes] == [Table]


def test_network_carries_the_name_and_hash_of_its_file(tmp_path) -> None:
    b = TFLiteBuilder(0)
    x = b.activation((1, 4))
    path = tmp_path / "some_name.tflite"
    path.write_bytes(b.finish([x], [b.fully_connected(x, cout=2)]))
    network = load(path)
    assert network.name == "some_name"
    assert len(network.sha256) == 64
