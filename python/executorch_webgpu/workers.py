"""Threads for work in torch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def single_threaded_workers() -> Iterator[Executor]:
    """As many threads as torch would use, each to work on a piece of its own.

    Torch by itself splits every operation over all cores and waits for the slowest of them each
    time: on a busy machine that is many times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
