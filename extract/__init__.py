"""extract: a language model's hidden states, aligned by word, as safetensors."""

from typing import TYPE_CHECKING, Any

from extract.alignment import Positions, align
from extract.errors import ExtractError, UsageError
from extract.own_prompts import read_prompts
from extract.own_templates import fill_template
from extract.prompts import Prompts, month_starts, study_prompts
from extract.tokens import Tokens, tokenize

if TYPE_CHECKING:
    from extract.states import HiddenStates

__all__ = [
    "ExtractError",
    "HiddenStates",
    "Positions",
    "Prompts",
    "Tokens",
    "UsageError",
    "align",
    "fill_template",
    "month_starts",
    "read_prompts",
    "study_prompts",
    "tokenize",
]


def __getattr__(name: str) -> Any:
    # The only part that needs torch, which takes seconds to import.
    if name == "HiddenStates":
        from extract.states import HiddenStates

        return HiddenStates
    raise AttributeError(f"module 'extract' has no attribute {name!r}")
