"""ONNX Runtime sessions, with telemetry disabled.

From 1.32 on, every process that imports it sends telemetry events, unless a variable is set before the import.
"""

import os
from typing import Any

DISABLE_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def onnxruntime() -> Any:
    """The module `onnxruntime` with telemetry disabled, by a variable before the import and by a call in case it was imported before."""
    os.environ[DISABLE_TELEMETRY] = "1"
    import onnxruntime as module

    module.disable_telemetry_events()
    return module


def session(graph: Any, threads: int) -> Any:
    """CPU `InferenceSession` of a graph (a path or bytes) with `threads` intra-op and inter-op threads."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
