"""How many examples hypothesis draws: a fixed few in the tests, many in ``benchmarks.hostile``."""

import os

from hypothesis import settings


def examples(usual: int) -> settings:
    """So many examples, always the same; or ``HOSTILE_EXAMPLES`` of them, other ones each time."""
    asked = os.environ.get("HOSTILE_EXAMPLES")
    count = int(asked) if asked else usual
    return settings(max_examples=count, deadline=None, derandomize=not asked, database=None)
