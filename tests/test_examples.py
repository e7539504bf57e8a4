"""The digits example is small, has one layer of each kind, and recognizes digits: exactly as its reference does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import run_tflm
from source_tree import ROOT

from heddle.gen import golden
from heddle.gen.importers import load, survey
from heddle.gen.ir import Linear

DIGITS = ROOT / "examples" / "digits" / "digits.tflite"
SAMPLES = DIGITS.with_name("samples.npz")
OPERATORS = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "FULLY_CONNECTED", "SOFTMAX"}


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    with np.load(SAMPLES) as file:
        return file["x"], file["label"]


def predicted(network: Path, x: np.ndarray, *, passes: bool = True) -> np.ndarray:
    outputs = golden.predict(load(network, passes=passes), x)
    assert isinstance(outputs, np.ndarray)
    return outputs


def reference(x: np.ndarray) -> np.ndarray:
    (outputs,) = run_tflm(DIGITS.read_bytes(), [x])
    return outputs.reshape(len(x), -1)


def accuracy(network: Path, x: np.ndarray, label: np.ndarray) -> float:
    return float((predicted(network, x).argmax(axis=-1) == label).mean())


def test_the_files_are_small() -> None:
    assert DIGITS.stat().st_size < 20_000
    assert SAMPLES.stat().st_size < 20_000


def test_the_network_has_a_layer_of_each_kind_and_all_are_supported() -> None:
    surveyed = survey(DIGITS)
    assert {layer.op for layer in surveyed.layers} >= OPERATORS
    assert surveyed.problems == ()


def test_the_samples_are_as_the_network_takes_them_and_every_digit_is_among_them(
    samples: tuple[np.ndarray, np.ndarray],
) -> None:
    x, label = samples
    (source,) = survey(DIGITS).inputs
    assert (x.dtype.name, x.shape[1:]) == (source.dtype, source.shape[1:])
    assert len(x) == len(label) >= 300
    assert np.bincount(label, minlength=10).min() >= 30


def test_at_least_95_of_100_digits_are_recognized(samples: tuple[np.ndarray, np.ndarray]) -> None:
    assert accuracy(DIGITS, *samples) >= 0.95


def test_the_accuracy_in_the_readme_is_that_of_the_file(samples: tuple[np.ndarray, np.ndarray]) -> None:
    assert f"**Accuracy: {accuracy(DIGITS, *samples):.2%}**" in DIGITS.with_name("README.md").read_text()


@pytest.mark.parametrize("passes", [False, True])
def test_the_golden_model_equals_tensorflow_lite_micro_on_every_sample(
    passes: bool, samples: tuple[np.ndarray, np.ndarray]
) -> None:
    x = samples[0]
    assert np.array_equal(predicted(DIGITS, x, passes=passes), reference(x))


def test_one_wrong_weight_in_the_file_shows(samples: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    x = samples[0]
    layers = [node for node in load(DIGITS, passes=False).nodes if isinstance(node, Linear)]
    (weight,) = [layer.weight for layer in layers if layer.op == "DEPTHWISE_CONV_2D"]
    data = bytearray(DIGITS.read_bytes())
    # In the file the weights of a depthwise convolution are (1, kh, kw, channels).
    start = data.find(weight[..., 0].transpose(1, 2, 0).tobytes())
    assert start > 0
    data[start] ^= 4
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(data)
    assert not np.array_equal(predicted(wrong, x), reference(x))


@pytest.mark.slow
def test_the_demo_simulates_real_samples_and_says_how_many_were_right(tmp_path: Path) -> None:
    demo = [sys.executable, str(DIGITS.with_name("demo.py")), "--samples", "3", "--no-build"]
    done = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy    98.25%" in done.stdout
    assert "all 30 integers equal" in done.stdout
