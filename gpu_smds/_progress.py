"""Progress over sites: a callable of the caller, or a text bar on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from gpu_smds._arguments import shown

Progress = bool | Callable[[int, int], None]


class Meter:
    """Count finished sites and report how many of ``total`` are done.

    Parameters
    ----------
    progress
        True for a bar, a callable (done, total), or False.
    total
        Number of sites.
    what
        First word of the bar.
    """

    def __init__(self, progress: Progress, total: int, what: str) -> None:
        if not (isinstance(progress, bool | np.bool_) or callable(progress)):
            raise TypeError(
                f"progress must be True, False or a callable (done, total), got {shown(progress)}"
            )
        self._total, self._done = total, 0
        self._show: Callable[[int, int], None] | None = None
        if progress:
            self._show = progress if callable(progress) else _Bar(what)

    def add(self, sites: int) -> None:
        """Add newly finished sites."""
        self._done += sites
        if self._show is not None:
            self._show(self._done, self._total)


class _Bar:
    """``what  120/1054 sites, 14 s left``, rewritten at most five times a second."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.started = time.monotonic()
        self.shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self.shown < 0.2:
            return
        self.shown = now
        left = (now - self.started) * (total - done) / done
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r{self.what}  {done}/{total} sites, {left:.0f} s left   {end}")
        sys.stderr.flush()
