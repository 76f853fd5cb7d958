"""Which sentences a run reads: the study's, or the user's own."""

from __future__ import annotations

from experiments.options import Options
from extract import Prompts, UsageError, read_prompts, study_prompts


def sentences_of(options: Options) -> Prompts:
    """Draw the sentences or read them from their file.

    Raises
    ------
    UsageError
        With what to do about it.
    """
    if options.prompts is None:
        if options.samples < 1:
            raise UsageError("--samples must be at least 1")
        return study_prompts(options.samples, options.seed)
    if options.positions == "raw":
        try:
            return read_prompts(options.prompts)
        except UsageError:
            return read_prompts(options.prompts, align=False)
    return read_prompts(options.prompts)
