"""Two runs at a time, in processes of their own."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

Answer = TypeVar("Answer")
WORKERS = 2


def start_pool() -> ProcessPoolExecutor:
    """Make the workers; each uses one thread, for models this small gain nothing from more."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    return ProcessPoolExecutor(WORKERS, mp_context=spawn)


def together(
    run: Callable[..., Answer], asked: Sequence[Any], note: Callable[[str], None]
) -> list[Answer]:
    """Run all, and give the answers in the order of what was asked.

    Args:
        run: What is run; a tuple becomes its arguments.
        asked: What for.
        note: Told of progress.
    """
    answers: dict[int, Answer] = {}
    with start_pool() as pool:
        running = {
            pool.submit(run, *(one if type(one) is tuple else (one,))): number
            for number, one in enumerate(asked)
        }
        for done, future in enumerate(as_completed(running), start=1):
            answers[running[future]] = future.result()
            note(f"{done}/{len(asked)}  {run.__name__} {asked[running[future]]}")
    return [answers[number] for number in range(len(asked))]
