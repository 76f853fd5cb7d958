"""Sentences as messages of a chat: the model's own template around them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from extract.errors import UsageError
from extract.prompts import Prompts
from extract.words import split_words

#: Stands for the message in a template; no template holds it.
_MESSAGE = "gpuSMDSmessage"


@dataclass(frozen=True)
class ChatFrame:
    """What a chat template puts around a message, up to where the model's answer begins.

    Attributes
    ----------
    before, after
        The text on either side.
    template
        SHA-256 of the template.
    """

    before: str
    after: str
    template: str

    @classmethod
    def of(cls, tokenizer: Any, model: str) -> ChatFrame:
        """The frame of a tokenizer's template; ``model`` is its name in errors.

        Raises
        ------
        UsageError
            There is no template, or it takes no lone message of a user.
        """
        try:
            template = tokenizer.get_chat_template() if tokenizer.chat_template else None
        except ValueError:  # several templates, none of which is the usual one
            template = None
        if not template:
            raise UsageError(
                f"{model} has no chat template: leave out --chat, or choose an instruct model"
            )
        before, *after = _rendered(tokenizer, [_MESSAGE], model)[0].split(_MESSAGE)
        if len(after) != 1:
            raise UsageError(
                f"the chat template of {model} holds the message {len(after)} times, not once: "
                "leave out --chat, and write the template around the sentences yourself"
            )
        return cls(before, after[0], hashlib.sha256(template.encode()).hexdigest())

    @classmethod
    def noted(cls, facts: Mapping[str, str]) -> ChatFrame:
        """The frame of :meth:`facts`."""
        return cls(facts["before"], facts["after"], facts["template"])

    def facts(self) -> dict[str, str]:
        """JSON-able description."""
        return asdict(self)

    def check(self, prompts: Prompts, tokenizer: Any, model: str) -> None:
        """Make sure that the template leaves every sentence as it is.

        Raises
        ------
        UsageError
            It does not; the message names the first sentence that it changes.
        """
        rendered = _rendered(tokenizer, prompts.texts, model)
        for i, (text, found) in enumerate(zip(prompts.texts, rendered, strict=True)):
            if found != self.before + text + self.after:
                raise UsageError(
                    f"the chat template of {model} changes sentence {i + 1} ({_short(text)}), such "
                    "as white space at its ends: leave that out of the sentences, or --chat"
                )

    def around(self, prompts: Prompts) -> Prompts:
        """The sentences with the frame around them; its words stand before and after theirs."""
        words = [(self.before, split_words(self.before)), (self.after, split_words(self.after))]
        (front, front_spans), (back, back_spans) = (
            ([text[a:b] for a, b in found], np.array(found, dtype=np.int64).reshape(1, -1, 2))
            for text, found in words
        )
        shift, n = len(self.before), len(prompts)
        ends = np.array([shift + len(text) for text in prompts.texts])[:, None, None]
        parts = [np.repeat(front_spans, n, axis=0), prompts.spans + shift, back_spans + ends]
        # Without words of their own, for plain token positions, the frame's would mean nothing.
        chosen = [0, 1, 2] if prompts.units else []
        units = [front, prompts.units, back]
        is_slot = [[False] * len(front), prompts.is_slot, [False] * len(back)]
        return replace(
            prompts,
            texts=tuple(self.before + text + self.after for text in prompts.texts),
            units=tuple(name for k in chosen for name in units[k]),
            is_slot=tuple(of for k in chosen for of in is_slot[k]),
            spans=np.concatenate(parts, axis=1) if chosen else prompts.spans,
            frame=(shift, len(self.after)),
        )

    def lacks(self, tokenizer: Any) -> str | None:
        """What a tokenizer puts before other texts and the template leaves out; None: nothing.

        It is left out of the sentences too, as ``apply_chat_template`` of transformers does.
        """
        plain = tokenizer("a", return_special_tokens_mask=True)
        mask = [bool(is_special) for is_special in plain["special_tokens_mask"]]
        own = plain["input_ids"][: mask.index(False)]
        if tokenizer(self.before, add_special_tokens=False)["input_ids"][: len(own)] == own:
            return None
        return str(" ".join(tokenizer.convert_ids_to_tokens(own)))


def _rendered(tokenizer: Any, texts: Sequence[str], model: str) -> list[str]:
    """The texts as a user's only message, up to where the answer begins."""
    messages = [[{"role": "user", "content": text}] for text in texts]
    try:
        found = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates raise whatever they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"the chat template of {model} takes no lone message of a user ({reason[:200]}): leave "
            "out --chat"
        ) from error
    return list(map(str, found))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
