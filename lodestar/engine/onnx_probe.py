"""Probe of an ONNX graph: one run in a child process with limits on time and memory, before the graph serves any request.

`python -m lodestar.engine.onnx_probe OUTPUT SHAPE MEMORY SECONDS` is the child: it reads arrays (the graph's bytes and its inputs) from
standard input, and ends with its parent.
"""

import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.errors import DataError
from lodestar.schema.arrays import Shaped

GRAPH = "graph"
LIMIT_S = 60
MEMORY = 4 << 30  # bytes of address space, plus COPIES times the size of the graph
COPIES = 8
ENDED_BY = {signal.SIGXCPU: "time", signal.SIGKILL: "memory", signal.SIGABRT: "memory"}

_probed: set[str] = set()


def probe(
    graph: bytes, inputs: Mapping[str, Shaped[NDArray[Any], "..."]], output: str, shape: tuple[int, ...], limit_s: float = LIMIT_S
) -> None:
    """Raise DataError E184 unless a graph returns finite float32 values of a shape for these inputs, within time and memory.

    A graph that has passed in this process is not run again.
    """
    shapes = sorted((name, values.shape) for name, values in inputs.items())
    key = hashlib.sha256(graph + repr((shapes, output, shape)).encode()).hexdigest()
    if key in _probed:
        return
    content = io.BytesIO()
    arrays: dict[str, Any] = {GRAPH: np.frombuffer(graph, dtype=np.uint8), **inputs}
    np.savez(content, **arrays)
    # -P: modules of the working directory are not imported
    python = (sys.executable, "-P", "-m", "lodestar.process.parent_death", str(os.getpid()), "-P")
    limits = (str(MEMORY + COPIES * len(graph)), str(int(limit_s)))
    command = [*python, "-m", "lodestar.engine.onnx_probe", output, ",".join(map(str, shape)), *limits]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, input=content.getvalue(), capture_output=True, env=environment, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise _failed_probe(f"it did not finish within {limit_s:.0f} s") from error
    if done.returncode < 0:
        limit = ENDED_BY.get(signal.Signals(-done.returncode), "its process")
        raise _failed_probe(f"it ended by {signal.Signals(-done.returncode).name}: it exceeds the limit of {limit}")
    if done.returncode:
        raise _failed_probe(done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300] or f"it ended with {done.returncode}")
    _probed.add(key)


def _failed_probe(reason: str) -> DataError:
    return DataError("E184", f"a graph of the bundle does not run: {reason}", remedy="Publish the bundle again, from the run that made it.")


def main(arguments: list[str]) -> int:
    """The child process: exit status 0 if the output has the expected shape and type, else 1 with a line on standard error."""
    output, shape, memory, limit_s = arguments[0], tuple(map(int, arguments[1].split(","))), int(arguments[2]), int(arguments[3])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from lodestar.engine.onnx_runtime import session

    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as arrays:
        inputs = dict(arrays)
    try:
        (found,) = session(inputs.pop(GRAPH).tobytes(), 1).run([output], inputs)
    except Exception as error:  # an entry point: any error of the runtime is reported to the parent
        sys.stderr.write(" ".join(str(error).split())[:300] + "\n")
        return 1
    is_right = found.shape == shape and found.dtype == np.float32
    if not is_right or not np.isfinite(found).all():
        sys.stderr.write(
            f"its {output} is {found.dtype} {list(found.shape)}{' with NaN or infinity' if is_right else ''}, not {list(shape)}\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
