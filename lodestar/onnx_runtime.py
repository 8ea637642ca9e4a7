"""ONNX Runtime, opened in one place so that it reports nothing to its maker.

From 1.32 on it looks its maker's host up and sends events from every process that imports it, unless a variable is set before the import.
"""

import os
from typing import Any

DISABLE_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def onnxruntime() -> Any:
    """The module `onnxruntime`, told to report nothing: by a variable before the import, by a call where it was imported before."""
    os.environ[DISABLE_TELEMETRY] = "1"
    import onnxruntime as module

    module.disable_telemetry_events()
    return module


def session(graph: Any, threads: int) -> Any:
    """An `InferenceSession` on the CPU of a graph (a path or its bytes), with so many threads within and between operators."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
