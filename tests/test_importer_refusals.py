"""What Heddle cannot execute exactly is refused by layer, with the fact and the remedy; a survey shows all of it."""

import time
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder, sample_network

from heddle.errors import FileFormatError, HeddleError, UnsupportedError
from heddle.gen.importers import load, survey


def refusal(folder: Path, builder: TFLiteBuilder, inputs: list[int], outputs: list[int]) -> HeddleError:
    path = folder / "net.tflite"
    path.write_bytes(builder.finish(inputs, outputs))
    with pytest.raises(HeddleError) as refused:
        load(path)
    return refused.value


def test_all_unsupported_operators_are_listed(tmp_path) -> None:
    b = TFLiteBuilder(0)
    x = b.activation((1, 4, 4, 3))
    y = b.unary("L2_NORMALIZATION", b.conv_2d(x, cout=3), b.activation((1, 4, 4, 3)))
    z = b.op("CUSTOM:FancyOp", [y], [b.activation((1, 4, 4, 3))])
    error = refusal(tmp_path, b, [x], [b.unary("CUMSUM", z)])
    assert isinstance(error, UnsupportedError)
    for words in ("l2_normalization_1", "L2_NORMALIZATION", "fancyop_2", "CUSTOM:FancyOp", "cumsum_3", "replace it"):
        assert words in str(error)


@pytest.mark.parametrize("op", ["NEG", "EXP", "SQRT", "LOG", "GELU", "RELU_N1_TO_1"])
def test_functions_without_an_int8_kernel_in_the_reference_are_refused(tmp_path, op) -> None:
    b = TFLiteBuilder(0)
    x = b.activation((1, 8))
    error = refusal(tmp_path, b, [x], [b.unary(op, x)])
    assert error.where == f"{op.lower()}_0"


def fully_connected(b: TFLiteBuilder, *, x: int | None = None, weight: int | None = None, bias: int | None = None):
    x = b.activation((1, 4), scale=0.1) if x is None else x
    data = np.ones((2, 4), np.int8)
    weight = b.tensor((2, 4), scales=[0.1], zero_points=[0], data=data) if weight is None else weight
    y = b.activation((1, 2), scale=0.1)
    b.op("FULLY_CONNECTED", [x, weight] if bias is None else [x, weight, bias], [y], "FullyConnectedOptions")
    return x, y


REFUSED_LAYERS = {
    "weights with a zero point": (
        lambda b: {"weight": b.tensor((2, 4), scales=[0.1], zero_points=[3], data=np.ones((2, 4), np.int8))},
        "zero point other than 0",
    ),
    "float weights": (lambda b: {"weight": b.tensor((2, 4), "float32", data=np.ones((2, 4), np.float32))}, "float32"),
    "int4 weights": (lambda b: {"weight": b.tensor((2, 4), "int4", data=np.ones(4, np.int8))}, "int4"),
    "weights scaled along the inputs": (
        lambda b: {
            "weight": b.tensor((2, 4), scales=[1] * 4, zero_points=[0] * 4, axis=1, data=np.ones((2, 4), np.int8))
        },
        "4 scales along axis 1",
    ),
    "float biases": (lambda b: {"bias": b.tensor((2,), "float32", data=np.ones(2, np.float32))}, "float32"),
    "too many biases": (lambda b: {"bias": b.integers([1, 2, 3])}, "3 biases for 2 outputs"),
    "float activations": (lambda b: {"x": b.tensor((1, 4), "float32")}, "float32"),
    "int16 activations": (lambda b: {"x": b.tensor((1, 4), "int16", scales=[0.1], zero_points=[0])}, "int16"),
    "activations per channel": (
        lambda b: {"x": b.tensor((1, 4), scales=[0.1] * 4, zero_points=[0] * 4, axis=1)},
        "per channel",
    ),
    "activations without quantization": (lambda b: {"x": b.tensor((1, 4))}, "no quantization"),
    "a batch": (lambda b: {"x": b.activation((3, 4))}, "batch"),
    "a dynamic shape": (
        lambda b: {"x": b.tensor((1, 4), scales=[0.1], zero_points=[0], signature=(1, -1))},
        "dynamic shape",
    ),
    "a scale that is not a number": (
        lambda b: {"x": b.tensor((1, 4), scales=[float("nan")], zero_points=[0])},
        "scale nan",
    ),
    "a zero point out of range": (lambda b: {"x": b.tensor((1, 4), scales=[0.1], zero_points=[200])}, "zero point 200"),
    "biases that leave int32": (lambda b: {"bias": b.integers([2**31 - 1, 0])}, "int32"),
    "an input of another length": (lambda b: {"x": b.activation((1, 5))}, "4 values"),
}


@pytest.mark.parametrize("case", REFUSED_LAYERS)
def test_a_layer_that_cannot_be_exact_is_refused(tmp_path, case) -> None:
    changes, words = REFUSED_LAYERS[case]
    b = TFLiteBuilder(0)
    x, y = fully_connected(b, **changes(b))
    error = refusal(tmp_path, b, [x], [y])
    assert words in str(error)
    assert error.where
    assert error.remedy


def test_a_batch_dimension_that_is_dynamic_is_one(tmp_path) -> None:
    b = TFLiteBuilder(0)
    x, y = fully_connected(b, x=b.tensor((1, 4), scales=[0.1], zero_points=[0], signature=(-1, 4)))
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [y]))
    assert load(path).tensors["t0"].shape == (1, 4)


def build_softmax_inside(b):
    x = b.activation((1, 8))
    return x, b.fully_connected(b.softmax(x), cout=2)


def build_prelu_per_channel(b):
    x = b.activation((1, 2, 2, 3))
    alpha = b.tensor((3,), scales=[0.1], zero_points=[0], data=np.array([1, 2, 3], np.int8))
    return x, b.op("PRELU", [x, alpha], [b.activation((1, 2, 2, 3))])


def build_broadcast(b):
    x = b.activation((1, 4, 4, 3))
    gate = b.pool_2d("AVERAGE_POOL_2D", x, kernel=(4, 4), stride=(1, 1))
    return x, b.add(x, gate)


def build_product(b):
    x = b.activation((1, 4))
    return x, b.op("MUL", [x, x], [b.activation((1, 4))], "MulOptions")


def build_unequal_concatenation(b):
    x = b.activation((1, 4), scale=0.1)
    y = b.unary("QUANTIZE", x, b.activation((1, 4), scale=0.2))
    return x, b.op("CONCATENATION", [x, y], [b.like(x, (1, 8))], "ConcatenationOptions", Axis=1)


def build_mean_of_channels(b):
    x = b.activation((1, 4, 4, 3))
    return x, b.mean(x, axes=[3])


def build_computed_weights(b):
    x = b.activation((1, 4))
    return x, fully_connected(b, x=x, weight=b.reshape(b.concatenation([x, x], axis=1), (2, 4)))[1]


def build_flattening_dense(b):
    x = b.activation((1, 5, 3, 6))
    return x, b.op("RESHAPE", [b.fully_connected(x, cout=4)], [b.activation((1, 5, 3, 4))])


def build_wrong_shape(b):
    x = b.activation((1, 8, 8, 3))
    y = b.conv_2d(x, cout=4, kernel=(3, 3), padding="VALID")
    b._tensors[y].shape = (1, 7, 7, 4)
    return x, y


def build_window_too_large(b):
    x = b.activation((1, 4, 4, 3))
    return x, b.op("MAX_POOL_2D", [x], [b.like(x, (1, 1, 1, 3))], "Pool2DOptions", Padding=1, FilterHeight=9,
                   FilterWidth=1, StrideH=1, StrideW=1)  # fmt: skip


def build_no_stride(b):
    x = b.activation((1, 4, 4, 3))
    return x, b.op("MAX_POOL_2D", [x], [b.like(x, (1, 4, 4, 3))], "Pool2DOptions", FilterHeight=1, FilterWidth=1)


def build_absurd_size(b):
    x = b.activation((1, 2**20, 2**10, 4))
    return x, b.unary("RELU", x)


def build_absurd_padding(b):
    x = b.activation((1, 4, 4, 3))
    return x, b.conv_2d(x, cout=1, dilation=(2**20, 2**20))


def build_absurd_work(b):
    x = b.activation((1, 2**11, 2**11, 1))
    return x, b.pool_2d("MAX_POOL_2D", x, kernel=(2**10, 2**10), stride=(1, 1))


def build_wrong_softmax_scale(b):
    x = b.activation((1, 8))
    return x, b.unary("SOFTMAX", x, b.activation((1, 8), scale=0.1), "SoftmaxOptions", Beta=1.0)


def build_batch_padding(b):
    x = b.activation((1, 2, 2, 3))
    return x, b.op("PAD", [x, b.integers([(1, 0), (0, 0), (0, 0), (0, 0)])], [b.like(x, (2, 2, 2, 3))])


def build_fused_tanh(b):
    x = b.activation((1, 4))
    return x, b.op("ADD", [x, x], [b.activation((1, 4), scale=1.0)], "AddOptions", FusedActivationFunction=4)


REFUSED_NETWORKS = {
    build_softmax_inside: "softmax_0: SOFTMAX lies inside",
    build_prelu_per_channel: "prelu_0",
    build_broadcast: "broadcast",
    build_product: "MUL of two activations",
    build_unequal_concatenation: "different quantization",
    build_mean_of_channels: "averages axes [3]",
    build_computed_weights: "its weights (t3) are computed at run time",
    build_flattening_dense: "flattens",
    build_wrong_shape: "declared (1, 7, 7, 4) where CONV_2D gives (6, 6, 4)",
    build_window_too_large: "does not fit",
    build_no_stride: "stride (0, 0)",
    build_absurd_size: "no board holds more",
    build_absurd_padding: "padded map",
    build_absurd_work: "operations",
    build_wrong_softmax_scale: "1/256",
    build_batch_padding: "batch",
    build_fused_tanh: "fused activation 4",
}


@pytest.mark.parametrize("build", REFUSED_NETWORKS)
def test_a_network_that_cannot_be_exact_is_refused(tmp_path, build) -> None:
    b = TFLiteBuilder(0)
    x, y = build(b)
    assert REFUSED_NETWORKS[build] in str(refusal(tmp_path, b, [x], [y]))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda b, x, y: b.op("RELU", [x], [y]), "has a value already"),
        (lambda b, x, y: b._operators[0].inputs.__setitem__(0, y), "before anything writes it"),
        (lambda b, x, y: b._operators[0].inputs.__setitem__(0, 77), "does not exist"),
        (lambda b, x, y: b._operators[0].outputs.append(x), "has a value already"),
        (lambda b, x, y: b._operators.clear(), "nothing writes the output"),
    ],
)
def test_a_graph_that_is_inconsistent_is_refused(tmp_path, edit, words) -> None:
    b = TFLiteBuilder(0)
    x, y = fully_connected(b)
    edit(b, x, y)
    error = refusal(tmp_path, b, [x], [y])
    assert isinstance(error, FileFormatError)
    assert words in str(error)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\x1c\0\0\0TFL3" + b"\0" * 40, b"#!/bin/sh\n" * 9])
def test_what_is_not_a_network_is_refused(tmp_path, content) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    for read in (load, survey):
        with pytest.raises(FileFormatError, match=r"net\.tflite"):
            read(path)


def test_names_cannot_write_to_the_terminal(tmp_path) -> None:
    b = TFLiteBuilder(0)
    x = b.tensor((1, 4), "float32", name="\x1b[2J\nname" + "x" * 5000)
    y = b.activation((1, 4))
    error = refusal(tmp_path, b, [x], [b.op("CUSTOM:a\nb", [b.unary("RELU", x, y)], [b.activation((1, 4))])])
    assert str(error).isprintable()
    assert len(str(error)) < 2000


def test_a_file_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        load(tmp_path / "absent.tflite")
    with pytest.raises(FileFormatError, match="cannot be read"):
        load(tmp_path)


def test_survey_counts_and_explains(tmp_path) -> None:
    b = TFLiteBuilder(0)
    x = b.activation((1, 4, 4, 3))
    y = b.conv_2d(x, cout=5, kernel=(3, 3))
    b.clear_channel(1, 0)
    z = b.unary("CUMSUM", y, b.activation((1, 4, 4, 5)))
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [z]))
    seen = survey(path)
    conv, other = seen.layers
    assert (conv.name, conv.op, conv.supported) == ("conv_2d_0", "CONV_2D", True)
    assert (conv.macs, conv.params) == (4 * 4 * 5 * 27, 5 * 27 + 5)
    assert conv.zeros >= 27
    assert [tensor.shape for tensor in (*conv.inputs, *conv.outputs)] == [(1, 4, 4, 3), (1, 4, 4, 5)]
    assert not seen.supported
    assert other.problem is not None
    assert "CUMSUM" in str(other.problem)
    assert seen.problems == (other.problem,)


def test_survey_of_a_supported_network_agrees_with_the_import(tmp_path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(sample_network())
    seen = survey(path)
    assert seen.supported
    assert seen.sha256 == load(path).sha256
    assert seen.macs > 0
    assert seen.size_bytes == path.stat().st_size


def test_survey_of_five_megabytes_takes_a_moment(tmp_path) -> None:
    b = TFLiteBuilder(0)
    x = b.activation((1, 4, 4, 512))
    y = x
    for _ in range(2):
        y = b.conv_2d(y, cout=512, kernel=(3, 3))
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [y]))
    assert path.stat().st_size > 4_700_000
    start = time.process_time()
    assert survey(path).params > 4_700_000
    # A loaded machine's processor takes longer for the same.
    assert time.process_time() - start < 6
