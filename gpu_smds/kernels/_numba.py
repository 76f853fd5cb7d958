"""How loops that torch has no good form of are compiled for the CPU. Imported only where needed.

Every kernel runs on the thread that calls it and releases Python's lock, so that sites run side by
side on several threads. Inner loops go over slices from zero: where an index might be negative, as
far as the compiler can see, it does not use vector instructions, and the loop takes ten times as
long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

#: Sums may be taken in another order, so that they can run in parallel lanes.
REORDERED = {"fastmath": {"reassoc", "contract", "nsz"}}


def compiled(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """Decorate a function to be compiled when it is first called, and kept on disk if possible."""

    def compile_(function: Callable[..., None]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder to keep the compiled code in
            return numba.njit(nogil=True, **options)(function)

    return compile_
