"""Does a model know the feature of a task? Its own answers to the task's question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from extract.models import load_model, load_tokenizer
from extract.sources import ModelSource
from extract.task import Task


class Answering:
    """A causal language model with its head, which must be its embeddings turned round.

    Raises
    ------
    ValueError
        The model has a head of its own.
    """

    def __init__(self, source: ModelSource, device: torch.device) -> None:
        self.tokenizer = load_tokenizer(source)
        self.model = load_model(source, device)
        if not self.model.config.tie_word_embeddings:
            raise ValueError(f"{source.name} has a head of its own, which is not loaded here")
        self.device = device

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def _log_p(self, states: Tensor) -> Tensor:
        logits: Tensor = states @ self.model.get_input_embeddings().weight.T
        return logits.log_softmax(-1)

    @torch.inference_mode()
    def continuations(self, text: str, answers: Sequence[str]) -> tuple[list[float], list[bool]]:
        """Log-probability of each answer after a text, and whether it is what a greedy model says.

        An answer is judged with the full stop after it, or "3" would be likelier than "37" wherever
        "37" is right. The text is read once, and its keys and values serve all answers.
        """
        start = self._ids(text)
        rows, lengths = [], []
        for answer in answers:
            said, whole = (self._ids(f"{text} {answer}{end}") for end in ("", "."))
            if whole[: len(said)] != said or said[: len(start)] != start:
                raise ValueError(f"{text!r} is cut into other tokens before {answer!r}")
            rows.append(whole[len(start) :])
            lengths.append(len(said) - len(start))
        found = self.model(input_ids=torch.tensor([start], device=self.device), use_cache=True)
        first = self._log_p(found.last_hidden_state[:, -1:])
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)
        log_p = first.expand(len(rows), -1, -1)
        if longest > 1:
            cache = found.past_key_values
            cache.batch_repeat_interleave(len(rows))
            more = self.model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True)
            log_p = torch.cat([log_p, self._log_p(more.last_hidden_state)], dim=1)
        of_ids = log_p.gather(2, ids[..., None])[..., 0]
        best = log_p.argmax(2) == ids
        sums = [float(of_ids[i, : len(row)].sum()) for i, row in enumerate(rows)]
        greedy = [bool(best[i, :length].all()) for i, length in enumerate(lengths)]
        return sums, greedy


def asked(model: Answering, task: Task, count: int, seed: int = 1) -> dict[str, Any]:
    """Ask a task's question after each of some sentences.

    Returns
    -------
    dict
        ``sentences``; ``answers``, how many there are; ``guess``, the share of the commonest right
        one, which is what always naming it would reach; ``accuracy``, the share where the right one
        is the likeliest of the answers; ``greedy``, where it is the likeliest text at all;
        ``example``.
    """
    question = task.question
    assert question is not None
    prompts = task.prompts(count, seed)
    answers = sorted(set(task.answers.values()))
    right, accurate, greedy, example = [], 0, 0, ""
    for i, text in enumerate(prompts.texts):
        filled = question.text.format(**{slot: of[i] for slot, of in prompts.slots.items()})
        wanted = task.answers[prompts.slots[question.slot][i]]
        right.append(wanted)
        log_p, said = model.continuations(f"{text} {filled}", answers)
        place = answers.index(wanted)
        accurate += max(log_p) == log_p[place]
        greedy += said[place]
        example = example or f"{filled} {wanted}"
    return {
        "sentences": count,
        "answers": len(answers),
        "guess": Counter(right).most_common(1)[0][1] / count,
        "accuracy": accurate / count,
        "greedy": greedy / count,
        "example": example,
    }
