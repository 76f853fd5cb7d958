"""Which files of a folder belong to an extraction; no others are ever replaced."""

from __future__ import annotations

from extract.errors import ExtractError
from extract.layer_file import LayerFile
from extract.partial_files import partial_name
from extract.progress import PROGRESS, is_plan, read_notes
from extract.states import INDEX, layer_name, listed_files
from extract.states_plan import StatesPlan
from gpu_smds._files import FilesError, Folder


def extraction_files(folder: Folder) -> list[str]:
    """Files of a folder that a finished or interrupted extraction says are its own."""
    listed = listed_files(folder)
    names = list(listed)
    plan, _ = read_notes(folder)
    if is_plan(plan):
        for layer in plan["layers"]:
            if type(layer) is int and layer >= 0:
                names += [layer_name(layer), partial_name(layer)]
        names.append(PROGRESS)
    if listed:
        names.append(INDEX)
    return [name for name in dict.fromkeys(names) if folder.kind(name) == "file"]


def replaceable_files(folder: Folder, plan: StatesPlan) -> list[str]:
    """Files of a folder that a new extraction replaces.

    Raises
    ------
    ExtractError
        A name that it needs is taken by a file that no extraction wrote.
    """
    listed = extraction_files(folder)
    of_layers = [*map(partial_name, plan.layers), *map(layer_name, plan.layers)]
    taken = [name for name in (*of_layers, INDEX, PROGRESS) if folder.kind(name) is not None]
    own = {name for name in taken if name in of_layers and _is_layer(folder, name)}
    if own:  # then damaged notes beside them are of that extraction as well
        own |= {INDEX, PROGRESS}
    for name in taken:
        if name not in listed and name not in own:
            raise ExtractError(
                f"{folder.path / name} is not of an extraction, and is not replaced: "
                "remove it, or choose another folder"
            )
    return list(dict.fromkeys([*listed, *taken]))


def _is_layer(folder: Folder, name: str) -> bool:
    """Whether a file that nothing lists says that it holds the states of a layer."""
    try:
        return LayerFile.open(folder, name).metadata.get("layer", "").isdecimal()
    except (OSError, FilesError, ExtractError):
        return False
