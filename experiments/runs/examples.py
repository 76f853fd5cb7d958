"""A few sentences as the model will read them: where slots stand, which token has which column."""

from __future__ import annotations

from extract import Positions, Prompts, Tokens

_FEW = 3


def examples(prompts: Prompts, tokens: Tokens | None, positions: Positions | None) -> list[str]:
    """Lines that show the first, a middle and the last sentence.

    A slot is marked as ``⟦Rome⟧Town``; below, each token stands behind the number of its column,
    or behind a dash.

    Parameters
    ----------
    prompts
        The sentences, in the chat template if they are read so.
    tokens, positions
        Their tokens and columns; None where the tokenizer is not at hand.
    """
    n = len(prompts)
    lines = []
    for number in sorted({0, n // 2, n - 1})[:_FEW]:
        lines.append(f"sentence {number + 1}: {marked(prompts, number)}")
        if tokens is not None and positions is not None:
            lines.append(f"  column:token  {columns_of(prompts, tokens, positions, number)}")
    return lines


def marked(prompts: Prompts, number: int) -> str:
    """A sentence with its slots in brackets, each with its name behind."""
    text, shown, position = prompts.texts[number], "", 0
    units = zip(prompts.units, prompts.is_slot, prompts.spans[number].tolist(), strict=True)
    for name, is_slot, (start, end) in sorted(units, key=lambda unit: unit[2]):
        if is_slot:
            shown += f"{text[position:start]}⟦{text[start:end]}⟧{name}"
            position = end
    return shown + text[position:]


def columns_of(prompts: Prompts, tokens: Tokens, positions: Positions, number: int) -> str:
    """Tokens of a sentence, each behind its columns."""
    text, columns = prompts.texts[number], positions.columns[number].tolist()
    shown = []
    offsets = tokens.offsets[number].tolist()
    for t, (token, (start, end)) in enumerate(zip(tokens.ids[number], offsets, strict=True)):
        of_token = ",".join(str(column) for column, at in enumerate(columns) if at == t)
        piece = text[start:end]
        readable = tokens.marks.get(token) or piece.strip() or ("↵" if "\n" in piece else "␣")
        shown.append(f"{of_token or '–'}:{readable}")
    return "  ".join(shown)
