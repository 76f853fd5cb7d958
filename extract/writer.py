"""Keep the states of batch after batch: in memory, in files, or in both.

The files are as large as they will be from the start, under the name ``….partial``. They are filled
in place, layer by layer as the model computes them, and every finished batch is noted with a
checksum in ``progress.jsonl``. When all rows are there the files get their names; so a file with
its final name is always whole, nothing is written twice, and after an interruption at any moment
the next call goes on after the last finished batch.

States from a GPU are sent to the host and written by a thread of its own, beside what the GPU
computes. On a CPU such a thread would only take a core from the model, whose products wait for each
other: there the states go to the files as soon as they are there, while they are in the cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extract.background import Background
from extract.disk_errors import disk_error, is_lack_of_space, not_writable, too_full
from extract.errors import ExtractError
from extract.host_copy import HostCopy
from extract.kept_states import KeptStates
from extract.layer_file import LayerFile
from extract.own_files import extraction_files, replaceable_files
from extract.partial_files import PartialFiles, partial_name
from extract.progress import PROGRESS, Batch, append_note, read_notes, start_log
from extract.states import INDEX, HiddenStates, layer_hashes, layer_name
from extract.states_plan import StatesPlan
from gpu_smds._files import FilesError, Folder

__all__ = ["PROGRESS", "StatesWriter", "extraction_files"]


class StatesWriter:
    """Take the states of batches in any order; each row once.

    Parameters
    ----------
    folder
        Where the files go; None writes none. Files of an earlier extraction are replaced, others
        never.
    layers
        Layer numbers.
    shape
        (samples, positions, features).
    dtype
        Dtype the model computes in.
    metadata
        Written into the header of every file.
    batches
        Rows of the batches to come; those of another plan are not taken up.
    keep
        Device on which all states are kept as well; None reads them from the files.
    beside
        Whether the states come from a GPU and are written beside what it computes.

    Attributes
    ----------
    done
        Batches ``(row, row, ...)`` that are finished, by an interrupted call with the same plan
        to begin with.
    damaged
        Number of batches whose checksum was not the one noted: they are read again.
    nonfinite
        ``(layers, positions)`` number of NaN and inf in the finished batches.

    Raises
    ------
    ExtractError
        The disk is full or the folder cannot be written; the states do not fit the memory; a
        name is taken by a file that no extraction wrote.
    """

    def __init__(
        self,
        folder: Path | Folder | None,
        layers: Sequence[int],
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        metadata: dict[str, str],
        batches: Sequence[np.ndarray],
        keep: torch.device | None = None,
        beside: bool = False,
    ) -> None:
        self.plan = StatesPlan(tuple(layers), shape, dtype, metadata)
        self.folder: Folder | None = None
        self.done: set[tuple[int, ...]] = set()
        self.damaged = 0
        self.nonfinite = np.zeros((len(layers), shape[1]), dtype=np.int64)
        self._kept: KeptStates | None = None
        self._files: PartialFiles | None = None
        if folder is None or keep is not None:
            self._kept = KeptStates(self.plan, keep or torch.device("cpu"), to_gpu=beside)
        if folder is not None:
            self.folder = _opened(folder)
            with self._disk_errors_explained():
                self._files, notes = _open_files(self.folder, self.plan)
                self._take_up(self._files, notes, {tuple(rows.tolist()) for rows in batches})
        self._batch: Batch | None = None
        self._copies: list[HostCopy] = []
        self._background = Background("states") if beside else None

    @property
    def rows_done(self) -> int:
        """Samples of finished batches."""
        return sum(len(rows) for rows in self.done)

    def write(self, rows: np.ndarray, states: Sequence[Tensor]) -> None:
        """Take the states of some samples: per layer ``(b, positions, d)``, on any device."""
        self.begin(rows)
        for number, part in enumerate(states):
            self.take(number, part)
        self.end()

    def begin(self, rows: np.ndarray) -> None:
        """Begin with some samples; what was begun before and not ended is forgotten."""
        self._show_failure()
        self._batch, self._copies = Batch(rows), []
        if self._kept is not None:
            self._rows_kept = torch.from_numpy(rows).to(self._kept.device)

    def take(self, number: int, states: Tensor) -> None:
        """Take a layer's states ``(b, positions, d)`` of these samples, one layer after another."""
        assert self._batch is not None
        self._batch.taken += 1
        states = states.to(self.plan.dtype)
        if self._kept is not None and not self._kept.on_host:
            self._kept.put(number, self._rows_kept, states)
        if self._background is not None:
            self._copies.append(HostCopy(states))
            return
        with self._disk_errors_explained():
            self._store(self._batch, number, states)

    def end(self) -> None:
        """All layers of these samples are there: note them."""
        assert self._batch is not None
        if self._batch.taken != len(self.plan.layers):
            raise ExtractError(
                f"the model gave {self._batch.taken} of {len(self.plan.layers)} layers for a "
                "batch: it skips blocks, and cannot be read"
            )
        if self._background is not None:
            self._background.submit(partial(self._store_copies, self._batch, self._copies))
        else:
            with self._disk_errors_explained():
                self._note(self._batch)
        self._batch, self._copies = None, []

    def finish(self) -> tuple[HiddenStates, Callable[[], None]]:
        """Return the states, and what to call to be sure that the files are complete.

        The states can be read at once; the files are hashed and get their names in the background.
        """
        self.close()
        self._show_failure()
        kept, files = self._kept, self._files
        if files is None:
            assert kept is not None
            return self._states(kept.tensors), lambda: None
        pool = ThreadPoolExecutor(1, "states")
        naming = pool.submit(self._name, files)
        pool.shutdown(wait=False)
        return self._states(kept.tensors if kept else files.layers), naming.result

    def close(self) -> None:
        """Write what was given and stop; the next call with the same plan goes on from there."""
        if self._background is not None:
            self._background.close()
        if self._files is not None:
            self._files.close()

    def _take_up(
        self, files: PartialFiles, notes: Sequence[dict[str, Any]], planned: set[tuple[int, ...]]
    ) -> None:
        """Count the batches whose states are as they were noted, and keep only their notes."""
        taken_up = []
        for note, whole in zip(notes, files.verify(notes), strict=True):
            if not whole:
                self.damaged += 1
            elif tuple(note["rows"]) in planned:
                taken_up.append(note)
                self._count(note["rows"], note["nonfinite"])
                if self._kept is not None:
                    self._kept.load(note["rows"], files.layers)
        start_log(files.folder, self.plan, taken_up)

    def _store_copies(self, batch: Batch, copies: Sequence[HostCopy]) -> None:
        for number, copy in enumerate(copies):
            self._store(batch, number, copy.arrived())
        self._note(batch)

    def _store(self, batch: Batch, number: int, states: Tensor) -> None:
        """Keep a layer's states, which are on the host, and write them to its file."""
        batch.count_nonfinite(number, states)
        if self._kept is not None and self._kept.on_host:
            self._kept.put(number, torch.from_numpy(batch.rows), states)
        if self._files is not None:
            self._files.write(batch, number, states)

    def _note(self, batch: Batch) -> None:
        if self._files is not None:
            append_note(self._files.folder, batch)
        self._count(batch.rows.tolist(), batch.nonfinite)

    def _count(self, rows: Sequence[int], nonfinite: Sequence[Sequence[int]]) -> None:
        self.done.add(tuple(rows))
        for number, position, count in nonfinite:
            self.nonfinite[number, position] += count

    def _states(self, tensors: Sequence[Tensor | LayerFile]) -> HiddenStates:
        return HiddenStates(tensors, self.plan.layers, self.plan.metadata, self.nonfinite)

    def _name(self, files: PartialFiles) -> None:
        with self._disk_errors_explained():
            _give_final_names(files, self.plan, self.nonfinite)

    def _show_failure(self) -> None:
        """Raise what went wrong in the background."""
        if self._background is not None and self._background.failed is not None:
            with self._disk_errors_explained():
                raise self._background.failed

    @contextmanager
    def _disk_errors_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self.folder is None:
                raise
            if is_lack_of_space(error) and not self.rows_done:
                _remove_partial_files(self.folder, self.plan)
            raise disk_error(error, self.folder.path, self.plan, self.rows_done) from error


def _opened(folder: Path | Folder) -> Folder:
    if isinstance(folder, Folder):
        return folder
    try:
        return Folder.at(folder, create=True)
    except OSError as error:
        raise not_writable(error, folder) from error


def _open_files(folder: Folder, plan: StatesPlan) -> tuple[PartialFiles, list[dict[str, Any]]]:
    """Files of an interrupted call with the same plan, with its notes; new files otherwise."""
    try:
        notes = _resumable_notes(folder, plan)
        if notes is None:
            _allocate(folder, plan)
        return PartialFiles(folder, plan), notes or []
    except FilesError as error:
        raise ExtractError(str(error)) from error


def _resumable_notes(folder: Folder, plan: StatesPlan) -> list[dict[str, Any]] | None:
    """Notes of an interrupted call with the same plan; None where there is none."""
    found, notes = read_notes(folder)
    if found != plan.facts():
        return None
    for layer in plan.layers:
        final, name = layer_name(layer), partial_name(layer)
        # Interrupted while the files got their final names: they are partial ones again.
        if folder.kind(final) == "file" and folder.kind(name) is None:
            folder.rename(final, name)
        if folder.kind(name) is None or folder.size(name) != plan.file_bytes(layer):
            return None
        header = plan.header(layer)
        if folder.head(name, len(header)) != header:
            return None
    return notes


def _allocate(folder: Folder, plan: StatesPlan) -> None:
    """Replace the files of an earlier extraction by files of full size without states."""
    replaced = replaceable_files(folder, plan)
    free = folder.free_bytes() + sum(map(folder.size, replaced))
    if plan.all_file_bytes > free:
        raise too_full(folder.path, plan)
    # The plan first: it says whose the files are that come after it.
    start_log(folder, plan)
    for name in replaced:
        if name != PROGRESS:
            folder.remove(name)
    for layer in plan.layers:
        with folder.create(partial_name(layer)) as file:
            # Reserved now, so that a full disk shows before the model runs.
            os.posix_fallocate(file.fileno(), 0, plan.file_bytes(layer))
            file.write(plan.header(layer))


def _remove_partial_files(folder: Folder, plan: StatesPlan) -> None:
    """Make room where no sentence has been read yet, so that nothing is lost."""
    for name in (*map(partial_name, plan.layers), PROGRESS):
        folder.remove(name)


def _give_final_names(files: PartialFiles, plan: StatesPlan, nonfinite: np.ndarray) -> None:
    """Name files that are complete, and write their index."""
    facts = {
        layer_name(layer): {"layer": layer, "bytes": plan.file_bytes(layer), "sha256": sha256}
        for layer, sha256 in zip(plan.layers, layer_hashes(files.layers), strict=True)
    }
    for layer in plan.layers:
        files.folder.rename(partial_name(layer), layer_name(layer))
    index = {"files": facts, "nonfinite": nonfinite.tolist()}
    files.folder.replace(INDEX, json.dumps(index, indent=1).encode())
    # Last: as long as it is there, the next call takes the files up again.
    files.folder.remove(PROGRESS)
