"""A short part of the campaign of ``python -m benchmarks.hostile``."""

from hostile.campaign import random_commands


def test_random_commands_spare_what_is_not_ours(tmp_path):
    found = random_commands(tmp_path, 14, seed=7)
    assert not found.harm
    assert not found.tracebacks
    # It did meet commands that work, that fail and that are wrong.
    assert found.codes[0] >= 2
    assert found.codes[2] >= 2
    assert found.runs >= 1
