"""Compilation of CPU loops that torch cannot express efficiently. Imported only where needed.

Every kernel runs on the thread that calls it and releases Python's interpreter lock, so that
several threads work on different sites in parallel. Inner loops index slices from zero: if the
compiler cannot exclude a negative index, it does not use vector instructions, and the loop takes
ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

#: The compiler may reorder sums, so that they can run in parallel lanes.
REORDERED = {"fastmath": {"reassoc", "contract", "nsz"}}


def compiled(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """Compile a function on its first call, and keep the compiled code on disk if possible."""

    def compile_(function: Callable[..., None]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder to keep the compiled code in
            return numba.njit(nogil=True, **options)(function)

    return compile_
