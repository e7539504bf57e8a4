"""The reference runtimes, for tests only: TensorFlow Lite Micro and LiteRT's reference kernels."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def run_tflm(data: bytes, inputs: Sequence[np.ndarray], tensors: Sequence[int] = ()) -> list[np.ndarray]:
    """Outputs, then ``tensors`` by index in the file, each ``(samples, *shape)``; inputs ``(samples, ...)``."""
    from tflite_micro import runtime

    config = runtime.InterpreterConfig.kPreserveAllTensors
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=2**23, intrepreter_config=config)
    count = _output_count(data)
    results: list[list[np.ndarray]] = []
    for sample in zip(*inputs, strict=True):
        for index, value in enumerate(sample):
            shape = interpreter.get_input_details(index)["shape"]
            interpreter.set_input(np.ascontiguousarray(value).reshape(shape), index)
        interpreter.invoke()
        outputs = [np.array(interpreter.get_output(index)) for index in range(count)]
        results.append([*outputs, *(np.array(interpreter.GetTensor(index, 0)["tensor_data"]) for index in tensors)])
    return [np.stack(values) for values in zip(*results, strict=True)]


def run_litert(data: bytes, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of LiteRT's ``BUILTIN_REF`` kernels, each ``(samples, *shape)``."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    results = []
    for sample in zip(*inputs, strict=True):
        for detail, value in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(value).reshape(detail["shape"]))
        interpreter.invoke()
        results.append([interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()])
    return [np.stack(values) for values in zip(*results, strict=True)]


def _output_count(data: bytes) -> int:
    import tflite

    graph: Any = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    return graph.OutputsLength()
