"""Hidden states, taken from a model while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from extract.errors import ExtractError


def text_config(config: Any) -> Any:
    """The part of a configuration that describes the language model."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def n_states(config: Any) -> int:
    """Number of hidden states: the embeddings and one per block."""
    return int(text_config(config).num_hidden_layers) + 1


def hidden_size(config: Any) -> int:
    """Width of the hidden states."""
    return int(text_config(config).hidden_size)


#: Takes the states of a layer: its number among those that are kept, and ``(b, T, d)``.
Take = Callable[[int, Tensor], None]


class _Enough(Exception):  # noqa: N818  no error: the layers above are not wanted
    pass


class StateReader:
    """Forward hooks that keep the chosen positions of the chosen layers, and nothing else.

    Layers are those of ``hidden_states`` of transformers: 0 is the first block's input, i the
    output of block i. Its state-space models (Mamba) leave out the former, so that their layer i
    is the output of block i + 1, and the last block has two, before and after the final norm.
    Positions are gathered where the block ran, so that padding and other positions are freed as
    the model goes on; no block above the last layer is run.

    Parameters
    ----------
    model
        A transformers model without head.
    layers
        Numbers of hidden states.
    final_norm
        "post": the last state is what the model returns, after its final norm, as in
        transformers; "pre": it is the output of the last block.

    Attributes
    ----------
    blocks
        The model's blocks, or None where hooks would not give what transformers gives: states
        are then taken from ``output_hidden_states``, which holds all of them at a time.
    """

    def __init__(self, model: Any, layers: Sequence[int], final_norm: str = "post") -> None:
        self.model, self.layers, self.final_norm = model, tuple(layers), final_norm
        self.last = n_states(model.config) - 1
        self.blocks: nn.ModuleList | None = None
        self._handles: list[Any] = []
        self._wanted = set(layers)
        self._columns = torch.empty(0, 0, dtype=torch.int64)
        self._index: dict[torch.device, Tensor] = {}
        self._found: dict[int, Tensor] = {}
        self._take: Take | None = None
        self._stop = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unhook()

    def check(self, ids: Tensor, mask: Tensor, columns: Tensor) -> list[Tensor]:
        """Read one batch both ways, by hooks and by ``output_hidden_states``; returns its states.

        Hooks are used from then on if both agree to the last bit.

        Raises
        ------
        ExtractError
            They do not, and ``final_norm`` is "pre", which only hooks can read.
        """
        # One layer more, where the last would be the only one and has nothing to compare with.
        layers = sorted({*self.layers, self.last - 1})
        self._wanted = set(layers)
        for blocks, first in product(block_lists(self.model), (1, 0)):
            self.blocks = blocks
            self._hook(first)
            with self._reading(columns):
                theirs = self._run(ids, mask, output_hidden_states=True).hidden_states
                agreed = self._found.keys() == self._wanted and all(
                    _same(self._found[layer], self._chosen(theirs[layer]))
                    for layer in layers
                    if not (self.final_norm == "pre" and layer == self.last)
                )
                if agreed:
                    self._wanted = set(self.layers)
                    return [self._found[layer] for layer in self.layers]
            self._unhook()
        self.blocks, self._wanted = None, set(self.layers)
        if self.final_norm == "pre" and self.last in self._wanted:
            raise ExtractError(
                f"the blocks of {type(self.model).__name__} cannot be read by themselves: leave "
                "out --final-norm pre"
            )
        return self.read(ids, mask, columns)

    @torch.inference_mode()
    def read(
        self, ids: Tensor, mask: Tensor, columns: Tensor, take: Take | None = None
    ) -> list[Tensor]:
        """States of one batch.

        Parameters
        ----------
        ids, mask
            ``(b, length)`` tokens, and 0 where they are padding.
        columns
            ``(b, T)`` tokens to keep.
        take
            Called with (number in ``layers``, states) as soon as a layer is there, in the order of
            the layers; nothing is returned then.

        Returns
        -------
        states : list of tensors
            Per layer ``(b, T, d)``, on the device of the block and as wide as computed.
        """
        with self._reading(columns):
            if self.blocks is not None:
                self._take = take
                self._stop = max(self.layers) < self.last or self.final_norm == "pre"
                self._run(ids, mask)
            else:
                theirs = self._run(ids, mask, output_hidden_states=True).hidden_states
                self._take = take
                for layer in self.layers:
                    self._keep(layer, theirs[layer])
            return [] if take else [self._found[layer] for layer in self.layers]

    @torch.inference_mode()
    def _run(self, ids: Tensor, mask: Tensor, **more: Any) -> Any:
        device = self.model.device
        where = device if device.type != "meta" else torch.device("cpu")
        try:
            output = self.model(
                input_ids=ids.to(where), attention_mask=mask.to(where), use_cache=False, **more
            )
        except _Enough:
            return None
        if self.final_norm == "post":
            self._keep(self.last, output.last_hidden_state)
        return output

    @contextmanager
    def _reading(self, columns: Tensor) -> Iterator[None]:
        self._columns, self._index, self._found = columns, {}, {}
        try:
            yield
        finally:
            # Nothing of a batch stays, not even after one that did not fit the memory.
            self._index, self._found, self._take, self._stop = {}, {}, None, False

    def _keep(self, layer: int, states: Tensor) -> None:
        """Gather the positions of a layer; ends the forward pass after the last one wanted."""
        if layer in self._wanted and states.dim() == 3:
            if self._take is None:
                self._found[layer] = self._chosen(states)
            else:
                self._take(self.layers.index(layer), self._chosen(states))
        if self._stop and layer == max(self.layers):
            raise _Enough

    def _chosen(self, states: Tensor) -> Tensor:
        """The positions to keep, of states ``(b, length, d)``."""
        b, length, d = states.shape
        if states.device not in self._index:
            rows = torch.arange(b)[:, None] * length + self._columns
            self._index[states.device] = rows.flatten().to(states.device)
        chosen = states.reshape(b * length, d).index_select(0, self._index[states.device])
        return chosen.view(b, -1, d)

    def _hook(self, first: int) -> None:
        """Hook the blocks, of which the output of the first is layer ``first``, 0 or 1."""
        assert self.blocks is not None
        last_block = self.blocks[-1]

        def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(0, args[0] if args else kwargs["hidden_states"])

        if first:
            self._handles.append(self.blocks[0].register_forward_pre_hook(before, with_kwargs=True))
        for number, block in enumerate(self.blocks, start=first):

            def after(module: Any, args: Any, output: Any, number: int = number) -> None:
                states = output[0] if isinstance(output, tuple) else output
                if number < self.last:
                    self._keep(number, states)
                if self.final_norm == "pre" and module is last_block:
                    self._keep(self.last, states)

            self._handles.append(block.register_forward_hook(after))

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def block_lists(model: nn.Module) -> list[nn.ModuleList]:
    """Lists of modules that may be the model's blocks: as many as it has, the outermost first."""
    count = n_states(model.config) - 1
    lists = [
        (name.count("."), module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    return [module for _, module in sorted(lists, key=lambda item: item[0])]


def _same(a: Tensor, b: Tensor) -> bool:
    # A model on several devices returns all on one, while ours stay where they were computed.
    b = b.to(a.device)
    return a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
