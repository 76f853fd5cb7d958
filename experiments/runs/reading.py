"""The sentences as the model reads them: in a chat template or not, in tokens, with columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from experiments.options import Options
from extract import Positions, Prompts, Tokens, align, tokenize
from extract.chat import ChatFrame


@dataclass(frozen=True)
class Reading:
    """What the model reads of the sentences, and what is kept.

    Attributes
    ----------
    prompts
        The sentences, with the chat template around them where that is asked for.
    frame
        That template, filled; None without.
    tokens, positions
        Their tokens, and which of them have columns.
    """

    prompts: Prompts
    frame: ChatFrame | None
    tokens: Tokens
    positions: Positions

    @classmethod
    def of(
        cls,
        prompts: Prompts,
        options: Options,
        tokenizer: Any,
        model: str,
        noted: Mapping[str, Any] | None = None,
    ) -> Reading:
        """Put the sentences into the template, if asked for, and choose the columns.

        ``noted`` is the manifest of a run that goes on: it does with the columns that it was begun
        with, and with the template as it was filled then, which may hold the date of that day.

        Raises
        ------
        ExtractError, UsageError
            No template, or one that changes the sentences; sentences that cannot be aligned.
        """
        frame, said = _frame(prompts, options, tokenizer, model, noted)
        read = prompts if frame is None else frame.around(prompts)
        tokens = tokenize(read, tokenizer)
        positions = align(
            read,
            tokens,
            options.positions,
            options.source,
            options.destination,
            options.distractor,
            words_only=noted is not None and "named" not in noted["positions"],
        )
        return cls(read, frame, tokens, replace(positions, report=(*said, *positions.report)))


def _frame(
    prompts: Prompts,
    options: Options,
    tokenizer: Any,
    model: str,
    noted: Mapping[str, Any] | None,
) -> tuple[ChatFrame | None, list[str]]:
    """The chat template filled, and what is to be said of it."""
    if not options.chat:
        return None, []
    frame, said = ChatFrame.of(tokenizer, model), []
    begun = noted.get("chat") if noted is not None else None
    if begun is not None and begun != frame.facts():
        frame = ChatFrame.noted(begun)
        said.append(
            "the chat template gives another text than when the run was begun, such as another "
            "date: it goes on with that of then (--force-states takes the new one)"
        )
    else:
        frame.check(prompts, tokenizer, model)
    if (lacking := frame.lacks(tokenizer)) is not None:
        said.append(
            f"the chat template begins without {lacking}, which the tokenizer puts before other "
            "texts: none is read, as transformers' apply_chat_template has it"
        )
    return frame, said
