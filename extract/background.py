"""A thread that does one job after another, beside the thread that submits them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import torch

#: Jobs that may wait; the thread that submits one more has to wait itself.
_AHEAD = 1


class Background:
    """Do jobs in the order in which they are submitted; none after one that failed.

    Attributes
    ----------
    failed
        What the failed job raised, for the other thread to raise.
    """

    def __init__(self, name: str) -> None:
        self.failed: BaseException | None = None
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(_AHEAD)
        # Tensors made in inference mode can be written to in that mode only, and a new thread is
        # not in it.
        self._inference = torch.is_inference_mode_enabled()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Have a job done after those before it."""
        self._queue.put(job)

    def close(self) -> None:
        """Wait until all jobs are done, and end the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if self.failed is None:
                try:
                    with torch.inference_mode(self._inference):
                        job()
                except BaseException as error:
                    self.failed = error
