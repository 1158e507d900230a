"""The real runtimes, each fed one sample at a time, as on a device."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from tflite_micro import runtime


def tflm(model: bytes, q: np.ndarray) -> np.ndarray:
    """Outputs int8 ``(n, classes)`` of tflite-micro."""
    arena = max(10 * len(model), 2**18)  # small files may have large maps
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
    outputs = []
    for sample in q:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).reshape(-1).copy())
    return np.array(outputs)


class LiteRT:
    """LiteRT with its default XNNPACK delegate."""

    def __init__(self, model: bytes) -> None:
        self.interpreter = Interpreter(model_content=model, num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        self.output = self.interpreter.get_output_details()[0]

    def run(self, q: np.ndarray) -> np.ndarray:
        outputs = []
        for sample in q:
            self.interpreter.set_tensor(self.input["index"], sample[None])
            self.interpreter.invoke()
            outputs.append(self.interpreter.get_tensor(self.output["index"]).reshape(-1))
        return np.array(outputs)

    def operators(self) -> Counter[str]:
        """Names of the operators, those handed to a delegate too, and one DELEGATE a partition."""
        return Counter(op["op_name"] for op in self.interpreter._get_ops_details())

    def undelegated(self) -> set[str]:
        """Operators that a delegate does not compute."""
        ops = self.interpreter._get_ops_details()
        delegated = [op for op in ops if op["op_name"] == "DELEGATE"]
        given = {index for op in delegated for index in op["inputs"]}
        made = {index for op in delegated for index in op["outputs"]}
        return {
            op["op_name"]
            for op in ops
            if op["op_name"] != "DELEGATE"
            and given.intersection(op["outputs"])
            and made.intersection(op["inputs"])
        }


def ort(path: Path, q: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
    """Outputs as the file has them, of int8 NHWC samples; and the operators after fusion."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_suffix(".optimized.onnx"))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    nchw = q.transpose(0, 3, 1, 2) if q.ndim == 4 else q
    x = nchw if entry.type == "tensor(int8)" else (nchw.astype(np.int16) + 128).astype(np.uint8)
    outputs = [session.run(None, {entry.name: np.ascontiguousarray(sample[None])})[0] for sample in x]
    optimized = onnx.load(options.optimized_model_filepath)
    return np.concatenate(outputs).reshape(len(x), -1), Counter(node.op_type for node in optimized.graph.node)
