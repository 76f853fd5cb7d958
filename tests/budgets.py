"""The smallest memory budget that a call accepts."""

from collections.abc import Callable
from typing import Any


def smallest(call: Callable[[int], Any]) -> Any:
    """What a call gives with about the smallest budget that holds it.

    It begins with next to nothing and follows what the refusals say is needed.
    """
    budget = 1000
    for _ in range(4):
        try:
            found = call(budget)
        except ValueError as refused:
            said = str(refused)
        else:
            assert budget > 1000, "a budget of next to nothing was accepted"
            return found
        assert f"memory_budget of {budget:,} bytes is too small" in said
        budget = 2 * int(said.split()[-1].replace(",", ""))
    raise AssertionError("the refusals do not say how much is needed")
