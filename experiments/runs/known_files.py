"""What is in a run's folder, by exact names: nothing else is ever replaced or removed.

==============================  ==================================================================
``manifest.json``               what the run was made from, its analyses, the list of its files
``run.toml``                    its settings, with which it can be repeated (``--config``)
``prompts.csv``                 the sentences, their labels and slots
``states/layer_NN.safetensors`` hidden states ``(sentences, positions, features)`` of a layer
``states/index.json``           what the files of the layers are, with their SHA-256
``states/progress.jsonl``       which sentences are read, while that is under way
``results/NAME.csv``            an experiment's or a test's results, for people
``results/NAME.safetensors``    the same to the last bit, per fold, with what they are of
``results/NAME.partial``        what is done of it, while it is under way
``results/summary.json, .txt``  the table and the verdicts
``figures/NAME.png``            its figure
``analyses/NAME/results, …``    the same of every further question of the same states
``results/clean, …``            the clean protocol's, as earlier versions kept it
``.lock, .manifest.lock``       empty; see ``lock.py``
==============================  ==================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from experiments.designs import EXPERIMENTS
from gpu_smds._files import FilesError, Folder

#: Names of analyses: they are names of folders, and stand in a shell without quotes.
NAME = r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,79}"

#: Subfolders of a run beside those of its analyses; the clean ones are of earlier versions.
FOLDERS = ("states", "results", "results/clean", "figures", "figures/clean")
_ANALYSES = rf"(analyses/{NAME}/)?"
_RESULTS = (
    *(row.name for row in EXPERIMENTS),
    "unseen_[A-Za-z0-9_-]{1,48}",  # named after the slot whose values were held out
    *("significance", "discover", "transfer", "transfer_layers", "subspaces", "circle"),
)
_BESIDE = ("transfer_layers_source", "transfer_layers_destination", "summary")
_STEM = "|".join((*_RESULTS, *_BESIDE))
_KNOWN = re.compile(
    r"prompts\.csv|run\.toml"
    r"|states/(index\.json|progress\.jsonl|layer_\d{2,7}\.safetensors(\.partial)?)"
    rf"|{_ANALYSES}results/(clean/)?({_STEM})\.(safetensors|csv|json|txt)"
    # What is done of experiments that share a pass over the states.
    rf"|{_ANALYSES}results/(clean/)?({_STEM})(\+({_STEM}))*\.partial"
    rf"|{_ANALYSES}figures/(clean/)?({'|'.join(_RESULTS)})\.png",
    re.ASCII,
)

_OF_A_SLOT = re.compile(r"/unseen_(?!(labels|names)\.)")


def folders_of(analyses: Iterable[str]) -> list[str]:
    """Subfolders with files of a run with these analyses."""
    inside = [f"analyses/{name}/{part}" for name in analyses for part in ("results", "figures")]
    return [*FOLDERS, *inside]


def is_known(key: str) -> bool:
    """Whether runs write a file of this path below their folder, such as ``results/reuse.csv``."""
    return _KNOWN.fullmatch(key) is not None


def names_of_0_1_0(folder: Folder) -> list[str]:
    """Files that version 0.1.0 wrote, which kept no list of them: what is there under its names."""
    found = [key for key in ("prompts.csv",) if folder.kind(key) == "file"]
    for part in FOLDERS:
        try:
            inside = folder
            for name in part.split("/"):
                inside = inside.folder(name)
        except (FileNotFoundError, FilesError):
            continue  # a link, say, which is named when something is to be written there
        keys = [f"{part}/{name}" for name in inside.names() if inside.kind(name) == "file"]
        # It named nothing after a slot, so that such a file is somebody else's.
        found += [key for key in keys if is_known(key) and not _OF_A_SLOT.search(key)]
    return found
