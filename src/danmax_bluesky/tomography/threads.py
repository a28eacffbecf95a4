"""How many threads a computation takes, and loops that are shared among them.

The environment variable OMP_NUM_THREADS says how many, as it does for most libraries; without it all cores that the
process may run on are taken. A worker of a cluster is given one.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def threads_of(wanted: int | None = None) -> int:
    """Number of threads: what is wanted, or OMP_NUM_THREADS, or the number of cores.

    Args:
        wanted: None for the usual number.
    """
    if wanted:
        return max(1, wanted)
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first):
        return int(first)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int, int], object], count: int, threads: int) -> None:
    """Call `work(first, last)` for parts of `range(count)`, at most `threads` at a time.

    Args:
        work: that lets go of the interpreter's lock.
        count: number of items.
        threads: 1 calls it here, once.
    """
    if threads <= 1 or count <= 1:
        work(0, count)
        return
    parts = min(count, 4 * threads)
    edges = [count * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
