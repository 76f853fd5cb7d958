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

import errno
import json
import os
import queue
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from extract.errors import ExtractError, out_of_memory
from extract.layer_file import LayerFile, header
from extract.states import INDEX, HiddenStates, hash_files, layer_name, listed_files
from gpu_smds._files import FilesError, Folder

PROGRESS = "progress.jsonl"
#: Batches that wait for the disk before the model has to.
_AHEAD = 1


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
        self.layers, self.shape, self.dtype = tuple(layers), shape, dtype
        self.folder: Folder | None = None
        self.metadata = metadata
        self.done: set[tuple[int, ...]] = set()
        self.damaged = 0
        self.nonfinite = np.zeros((len(layers), shape[1]), dtype=np.int64)
        self._failed: BaseException | None = None
        self._kept: list[Tensor] | None = None
        self._layer_files: list[LayerFile] = []
        self._files: list[Any] = []
        if folder is None or keep is not None:
            # From page-locked memory copies to a GPU take a fraction of the time.
            self._kept = self._allocate_memory(keep or torch.device("cpu"), pinned=beside)
        if folder is not None:
            at = self.folder = _opened(folder)
            try:
                notes = self._resumable()
                if notes is None:
                    self._allocate_files()
                self._layer_files = [LayerFile.open(at, name) for name in self._partials()]
                self._begins = [len(self._header(layer)) for layer in self.layers]
                self._files = [at.open(name, write=True) for name in self._partials()]
                self._take_up(notes or [], {tuple(rows.tolist()) for rows in batches})
            except OSError as error:
                self._give_up(error)
            except FilesError as error:
                raise ExtractError(str(error)) from error
        self._batch: _Batch | None = None
        self._sent: list[_Sent] = []
        self._queue: queue.Queue[tuple[_Batch, list[_Sent]] | None] = queue.Queue(_AHEAD)
        self._thread: threading.Thread | None = None
        if beside:
            # A thread begins in no such mode, and its tensors cannot be written to outside of it.
            mode = (torch.is_inference_mode_enabled(),)
            self._thread = threading.Thread(
                target=self._work, args=mode, name="states", daemon=True
            )
            self._thread.start()

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
        self._check()
        self._batch, self._sent = _Batch(rows), []
        if self._kept is not None:
            self._rows = torch.from_numpy(rows).to(self._kept[0].device)

    def take(self, number: int, states: Tensor) -> None:
        """Take a layer's states ``(b, positions, d)`` of these samples, one layer after another."""
        assert self._batch is not None
        self._batch.taken += 1
        states = states.to(self.dtype)
        if self._kept is not None and self._kept[number].device.type != "cpu":
            kept = self._kept[number]
            kept.index_copy_(0, self._rows, states.to(kept.device))
        if self._thread is not None:
            self._sent.append(_Sent(states))
            return
        try:
            self._store(self._batch, number, states)
        except OSError as error:
            self._give_up(error)

    def end(self) -> None:
        """All layers of these samples are there: note them."""
        assert self._batch is not None
        if self._batch.taken != len(self.layers):
            raise ExtractError(
                f"the model gave {self._batch.taken} of {len(self.layers)} layers for a batch: it "
                "skips blocks, and cannot be read"
            )
        if self._thread is not None:
            self._queue.put((self._batch, self._sent))
        else:
            try:
                self._note(self._batch)
            except OSError as error:
                self._give_up(error)
        self._batch, self._sent = None, []

    def finish(self) -> tuple[HiddenStates, Callable[[], None]]:
        """Return the states, and what to call to be sure that the files are complete.

        The states can be read at once; the files are hashed and get their names in the background.
        """
        self.close()
        self._check()
        tensors = self._kept or self._layer_files
        states = HiddenStates(tensors, self.layers, self.metadata, self.nonfinite)
        if self.folder is None:
            return states, lambda: None
        pool = ThreadPoolExecutor(1, "states")
        naming = pool.submit(self._name_files)
        pool.shutdown(wait=False)
        return states, naming.result

    def close(self) -> None:
        """Write what was given and stop; the next call with the same plan goes on from there."""
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        for file in self._files:
            file.close()
        self._files = []

    def _work(self, inference: bool) -> None:
        while (item := self._queue.get()) is not None:
            if self._failed is None:
                try:
                    with torch.inference_mode(inference):
                        for number, part in enumerate(item[1]):
                            self._store(item[0], number, part.arrived())
                        self._note(item[0])
                except BaseException as error:  # shown by the next call of the other thread
                    self._failed = error

    def _store(self, batch: _Batch, number: int, states: Tensor) -> None:
        """Write a layer's states, on the CPU, to its file, and count what is not finite."""
        # NaN and inf show in a sum, which is quick; it may also be too large by itself.
        if not bool(states.sum(dtype=torch.float32).isfinite()):
            counts = (~states.isfinite()).sum((0, 2))
            batch.bad += [(number, int(t), int(counts[t])) for t in counts.nonzero()]
        if self._kept is not None and self._kept[number].device.type == "cpu":
            self._kept[number].index_copy_(0, torch.from_numpy(batch.rows), states)
        if self.folder is None:
            return
        content = _content(states)
        batch.crc32 = zlib.crc32(content, batch.crc32)
        size = len(content) // len(batch.rows)
        begin = self._begins[number]
        # Row by row, in place: the file has its whole size already.
        for i, row in enumerate(batch.rows.tolist()):
            part, place = content[i * size : (i + 1) * size], begin + row * size
            while part:
                written = os.pwrite(self._files[number].fileno(), part, place)
                part, place = part[written:], place + written

    def _note(self, batch: _Batch) -> None:
        rows = batch.rows.tolist()
        if self.folder is not None:
            note = {"rows": rows, "crc32": batch.crc32, "nonfinite": batch.bad}
            self.folder.append(PROGRESS, (json.dumps(note) + "\n").encode())
        self._finished(rows, batch.bad)

    def _finished(self, rows: Sequence[int], bad: Sequence[Sequence[int]]) -> None:
        self.done.add(tuple(rows))
        for i, t, count in bad:
            self.nonfinite[i, t] += count

    def _check(self) -> None:
        if isinstance(self._failed, OSError) and self.folder is not None:
            self._give_up(self._failed)
        if self._failed is not None:
            raise self._failed

    def _name_files(self) -> None:
        """Give the complete files their final names."""
        assert self.folder is not None
        try:
            digests = hash_files(self._layer_files)
            files = {
                layer_name(layer): {"layer": layer, "bytes": self._size(layer), "sha256": digest}
                for layer, digest in zip(self.layers, digests, strict=True)
            }
            for layer, partial in zip(self.layers, self._partials(), strict=True):
                self.folder.rename(partial, layer_name(layer))
            facts = {"files": files, "nonfinite": self.nonfinite.tolist()}
            self.folder.replace(INDEX, json.dumps(facts, indent=1).encode())
            # Last: as long as it is there, the next call takes the files up again.
            self.folder.remove(PROGRESS)
        except OSError as error:
            self._give_up(error)
        # The open files stay valid: renaming does not touch what they hold.

    # Beginning, or going on.

    def _plan(self) -> dict[str, Any]:
        return {
            "metadata": self.metadata,
            "layers": list(self.layers),
            "shape": list(self.shape),
            "dtype": str(self.dtype),
        }

    def _resumable(self) -> list[dict[str, Any]] | None:
        """Notes of an interrupted call with the same plan; None where there is none."""
        assert self.folder is not None
        plan, notes = read_notes(self.folder)
        if plan != self._plan():
            return None
        for layer, partial in zip(self.layers, self._partials(), strict=True):
            # Interrupted while the files got their final names: they are partial ones again.
            final = layer_name(layer)
            if self.folder.kind(final) == "file" and self.folder.kind(partial) is None:
                self.folder.rename(final, partial)
            if self.folder.kind(partial) is None or self.folder.size(partial) != self._size(layer):
                return None
            head = self._header(layer)
            if self.folder.head(partial, len(head)) != head:
                return None
        return notes

    def _take_up(self, notes: list[dict[str, Any]], planned: set[tuple[int, ...]]) -> None:
        """Count the batches whose states are as they were noted, and keep only their notes."""
        assert self.folder is not None

        def whole(note: dict[str, Any]) -> bool:
            try:
                found = _checksum(layer.rows(note["rows"]) for layer in self._layer_files)
                known = all(
                    0 <= i < len(self.layers) and 0 <= t < self.shape[1] and count > 0
                    for i, t, count in note["nonfinite"]
                )
                return bool(note["crc32"] == found and known)
            except (KeyError, TypeError, ValueError, IndexError, RuntimeError):
                return False  # the note itself is damaged

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            sound = list(pool.map(whole, notes))
        lines = [json.dumps(self._plan())]
        for note, good in zip(notes, sound, strict=True):
            if not good:
                self.damaged += 1
            elif tuple(note["rows"]) in planned:
                lines.append(json.dumps(note))
                self._finished(note["rows"], note["nonfinite"])
                for kept, layer in zip(self._kept or [], self._layer_files, strict=False):
                    index = torch.tensor(note["rows"])
                    kept[index.to(kept.device)] = layer.rows(note["rows"]).to(kept.device)
        self.folder.replace(PROGRESS, ("\n".join(lines) + "\n").encode())

    def _allocate_memory(self, device: torch.device, pinned: bool) -> list[Tensor] | None:
        pinned = pinned and device.type == "cpu" and torch.cuda.is_available()
        try:
            return [
                torch.empty(self.shape, dtype=self.dtype, device=device, pin_memory=pinned)
                for _ in self.layers
            ]
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if self.folder is not None:
                return None  # they are in the files
            raise ExtractError(
                f"{len(self.layers) * self._bytes() / 1e9:.2f} GB of states do not fit the "
                "memory: leave out --no-save, or keep fewer --layers"
            ) from error

    def _allocate_files(self) -> None:
        assert self.folder is not None
        listed = extraction_files(self.folder)
        wanted = [*self._partials(), *map(layer_name, self.layers), INDEX, PROGRESS]
        taken = [name for name in wanted if self.folder.kind(name) is not None]
        replaced = list(dict.fromkeys([*listed, *taken]))
        layers = [name for name in taken if name not in (INDEX, PROGRESS)]
        of_extraction = {name for name in layers if _is_layer(self.folder, name)}
        if of_extraction:  # then damaged notes beside them are its own as well
            of_extraction |= {INDEX, PROGRESS}
        for name in taken:
            if name not in listed and name not in of_extraction:
                raise ExtractError(
                    f"{self.folder.path / name} is not of an extraction, and is not replaced: "
                    "remove it, or choose another folder"
                )
        free = self.folder.free_bytes() + sum(map(self.folder.size, replaced))
        if self._needed() > free:
            self._too_full()
        # The plan first: it says whose the files are that come after it.
        self.folder.replace(PROGRESS, (json.dumps(self._plan()) + "\n").encode())
        for name in replaced:
            if name != PROGRESS:
                self.folder.remove(name)
        for layer, name in zip(self.layers, self._partials(), strict=True):
            with self.folder.create(name) as file:
                # Reserved now, so that a full disk shows before the model runs.
                os.posix_fallocate(file.fileno(), 0, self._size(layer))
                file.write(self._header(layer))

    def _partials(self) -> list[str]:
        return [partial_name(layer) for layer in self.layers]

    def _bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def _size(self, layer: int) -> int:
        return len(self._header(layer)) + self._bytes()

    def _needed(self) -> int:
        return sum(self._size(layer) for layer in self.layers)

    def _header(self, layer: int) -> bytes:
        return header(self.shape, self.dtype, self.metadata | {"layer": str(layer)})

    def _give_up(self, error: OSError) -> NoReturn:
        assert self.folder is not None
        if error.errno == errno.EFBIG:
            self._leave_nothing()
            raise ExtractError(
                f"a file of {self.folder.path} may not grow to {self._size(self.layers[0]):,} "
                "bytes: raise the limit (ulimit -f), choose another --out, or --no-save"
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise ExtractError(
                f"{self.folder.path} cannot be written ({error.strerror}): choose another --out, "
                "or --no-save"
            ) from error
        if self.rows_done:
            raise ExtractError(
                f"the disk of {self.folder.path} is full: free some space and give the same "
                f"command again, it goes on after sentence {self.rows_done}"
            ) from error
        self._leave_nothing()
        self._too_full(error)

    def _leave_nothing(self) -> None:
        """Remove what was allocated, if no sentence was read yet."""
        assert self.folder is not None
        for name in () if self.rows_done else (*self._partials(), PROGRESS):
            self.folder.remove(name)

    def _too_full(self, error: OSError | None = None) -> NoReturn:
        assert self.folder is not None
        raise ExtractError(
            f"the disk of {self.folder.path} is too full for {self._needed() / 1e9:.2f} GB of "
            "states: free some space, choose --out on another disk, fewer --layers or "
            "--no-save"
        ) from error


def _opened(folder: Path | Folder) -> Folder:
    if isinstance(folder, Folder):
        return folder
    try:
        return Folder.at(folder, create=True)
    except OSError as error:
        raise ExtractError(
            f"{folder} cannot be written ({error.strerror}): choose another --out, or --no-save"
        ) from error


def partial_name(layer: int) -> str:
    """Name of a layer's file while it is being filled."""
    return layer_name(layer) + ".partial"


def extraction_files(folder: Folder) -> list[str]:
    """Files of a folder that a finished or interrupted extraction says are its own."""
    names = listed_files(folder)
    plan, _ = read_notes(folder)
    if _is_plan(plan):
        for layer in plan["layers"]:
            if type(layer) is int and layer >= 0:
                names += [layer_name(layer), partial_name(layer)]
        names.append(PROGRESS)
    if listed_files(folder):
        names.append(INDEX)
    return [name for name in dict.fromkeys(names) if folder.kind(name) == "file"]


def _is_layer(folder: Folder, name: str) -> bool:
    """Whether a file that nothing lists says that it holds the states of a layer."""
    try:
        return LayerFile.open(folder, name).metadata.get("layer", "").isdecimal()
    except (OSError, FilesError, ExtractError):
        return False


def _is_plan(found: Any) -> bool:
    """Whether the first line of a file is the plan of an extraction."""
    return (
        isinstance(found, dict)
        and found.keys() == {"metadata", "layers", "shape", "dtype"}
        and isinstance(found["layers"], list)
    )


def read_notes(folder: Folder) -> tuple[Any, list[dict[str, Any]]]:
    """Plan and finished batches of an interrupted extraction; (None, []) where there is none.

    A last line that was cut off is left out.
    """
    try:
        lines = folder.read(PROGRESS).decode().split("\n")
    except (OSError, FilesError, UnicodeDecodeError):
        return None, []
    found: list[Any] = []
    for line in lines[:-1]:
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return (found[0], found[1:]) if found else (None, [])


@dataclass
class _Batch:
    """What is known of the samples that are being written."""

    rows: np.ndarray
    taken: int = 0
    crc32: int = 0
    bad: list[tuple[int, int, int]] = field(default_factory=list)


class _Sent:
    """A tensor on its way to the host, beside what its device computes."""

    def __init__(self, tensor: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._tensor = tensor
        if tensor.device.type != "cuda":
            return
        stream = _side_stream(tensor.device)
        stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(stream):
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            # The memory is not given to another tensor before it has been read.
            tensor.record_stream(stream)
            self._event = stream.record_event()

    def arrived(self) -> Tensor:
        """Wait for it; contiguous, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor.contiguous()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def _checksum(layers: Iterable[Tensor]) -> int:
    """CRC-32 of the states of a batch: it guards against damage, at a few GB a second."""
    found = 0
    for states in layers:
        found = zlib.crc32(_content(states), found)
    return found


def _content(states: Tensor) -> memoryview:
    return states.flatten().view(torch.uint8).numpy().data
