"""Progress over blocks of sites: a callable of the caller's, or a plain bar on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator

from gpu_smds.sites import Block

Progress = bool | Callable[[int, int], None]


def report(blocks: Iterable[Block], progress: Progress, total: int, what: str) -> Iterator[Block]:
    """Yield blocks and report after each how many of ``total`` sites are done."""
    if not progress:
        yield from blocks
        return
    show = progress if callable(progress) else _Bar(what)
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        show(done, total)


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
