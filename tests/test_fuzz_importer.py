"""Hostile files: each mutation of a network gives a clear error, or a network that the golden model can run."""

import random
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_data import NETWORKS, network_path
from tflite_builder import sample_network

from heddle.errors import HeddleError
from heddle.gen import golden
from heddle.gen.design import compile_network
from heddle.gen.importers import load, survey
from heddle.hdl.config import ArrayConfig

DIGITS = Path(__file__).parents[1] / "examples" / "digits" / "digits.tflite"
MAX_SECONDS, MAX_BYTES = 10, 2**30
SMALL = ArrayConfig(rows=2, cols=8, requantizers=1)
EXTREMES = [value.to_bytes(4, "little") for value in (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Truncate, flip bits, replace bytes, plant extreme integers, or move pieces about."""
    data = bytearray(content)
    kind = rng.choice(["truncate", "flip", "replace", "extreme", "move"])
    if kind == "truncate":
        return bytes(data[: rng.randrange(len(data))])
    for _ in range(rng.choice([1, 1, 2, 8, 50])):
        # Structure lies at the beginning and the end; in between there are mostly weights.
        low = rng.choice([0, 0, max(0, len(data) - 6000)])
        at = rng.randrange(low, min(len(data), low + 6000))
        match kind:
            case "flip":
                data[at] ^= 1 << rng.randrange(8)
            case "replace":
                data[at] = rng.randrange(256)
            case "extreme":
                at &= ~3
                data[at : at + 4] = rng.choice(EXTREMES)
            case "move":
                source, length = rng.randrange(len(data)), rng.randrange(1, 64)
                data[at : at + length] = data[source : source + length]
    return bytes(data)


def outcome(path: Path, content: bytes, *, compiled: bool = False) -> str:
    """Import ``content``, run and perhaps compile it, within the limits; return the kind of error, or ``"runs"``."""
    path.write_bytes(content)
    tracemalloc.start()
    start = time.process_time()
    try:
        try:
            network = load(path)
            samples = {
                name: np.zeros((1, *network.tensors[name].sample_shape), network.tensors[name].dtype)
                for name in network.inputs
            }
            golden.run(network, samples)
            if compiled:
                compile_network(network, SMALL)
            result, one_line = "runs", True
        except HeddleError as error:
            result = type(error).__name__
            one_line = bool(error.where and error.fact and error.remedy) and "\n" not in str(error)
        assert one_line
        try:
            survey(path)
        except HeddleError:
            assert result != "runs"
        assert time.process_time() - start < MAX_SECONDS
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()
    return result


def test_three_hundred_mutations_each_give_an_error_or_a_network(tmp_path) -> None:
    rng = random.Random(2026)
    content = sample_network(0)
    # Compiling one takes longer than all else.
    outcomes = [outcome(tmp_path / "net.tflite", mutate(content, rng), compiled=i % 5 == 0) for i in range(300)]
    # The mutations must reach all that can happen.
    assert set(outcomes) == {"runs", "FileFormatError", "UnsupportedError"}


@pytest.mark.parametrize("name", ["digits", *NETWORKS])
def test_mutations_of_a_real_network_each_give_an_error_or_a_network(tmp_path, name) -> None:
    path = DIGITS if name == "digits" else network_path(name)
    rng = random.Random(7)
    content = path.read_bytes()
    # Of the largest, which take a second each, fewer.
    for i in range(40 if len(content) < 200_000 else 15):
        outcome(tmp_path / "net.tflite", mutate(content, rng), compiled=i % 20 == 0)


def test_every_truncation_gives_an_error_or_a_network(tmp_path) -> None:
    content = sample_network(0)
    for length in range(0, len(content), 97):
        assert outcome(tmp_path / "net.tflite", content[:length]) != "UnsupportedError"


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_planted_integers_give_an_error_or_a_network(tmp_path, data) -> None:
    content = bytearray(sample_network(0))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) // 4 - 1)) * 4
        content[at : at + 4] = data.draw(st.one_of(st.sampled_from(EXTREMES), st.binary(min_size=4, max_size=4)))
    outcome(tmp_path / "net.tflite", bytes(content))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_random_bytes_behind_the_identifier_give_an_error(tmp_path, content) -> None:
    assert outcome(tmp_path / "net.tflite", content[:4].ljust(4, b"\0") + b"TFL3" + content[4:]) == "FileFormatError"
