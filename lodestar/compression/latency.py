"""Latency of single requests, measured for several bundles interleaved."""

import time
from collections.abc import Sequence

import numpy as np

from lodestar.engine.recommender import Recommender
from lodestar.schema.arrays import Doubles, Float64

K = 10
WARM_UP_REQUESTS = 20


def request_times_ms(
    recommenders: Sequence[Recommender], histories: Sequence[Sequence[str]], requests: int
) -> Float64[Doubles, "recommenders {requests}"]:
    """Wall time of single requests in ms, [recommenders, requests], after a warm-up; requests are interleaved, so that noise is shared."""
    count = len(recommenders)
    times_ns = np.zeros((count, WARM_UP_REQUESTS + requests), dtype=np.int64)
    for request in range(times_ns.shape[1]):
        history = histories[request % len(histories)]
        for turn in range(count):
            index = (request + turn) % count
            start_ns = time.perf_counter_ns()
            recommenders[index].recommend(history, K)
            times_ns[index, request] = time.perf_counter_ns() - start_ns
    return times_ns[:, WARM_UP_REQUESTS:] / 1e6
