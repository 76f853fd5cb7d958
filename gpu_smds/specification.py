"""Manifolds and parametrizations as JSON, so that they fit into files."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpu_smds.shapes as shapes
from gpu_smds.shapes import BaseShape


def as_json(value: Any) -> Any:
    """A plain value, an array, a shape of ours or a parametrization of ours as JSON.

    Raises
    ------
    ValueError
        Code of the user's own: a callable, or a class that is not ours.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return {"array": np.asarray(value).tolist()}
    name = type(value).__name__
    if isinstance(value, BaseShape) and getattr(shapes, name, None) is type(value):
        parameters = value.parameters()
    elif type(value).__module__ == "gpu_smds.parametrization":
        parameters = value.get_params(deep=False)
    else:
        raise ValueError(
            f"{name} is code of your own, which a file cannot hold: save models whose manifold "
            "is a name or a shape of gpu_smds"
        )
    return {"class": name, "parameters": {k: as_json(v) for k, v in parameters.items()}}


def from_json(value: Any) -> Any:
    """Undo :func:`as_json`."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.asarray(value["array"])
    parameters = {name: from_json(v) for name, v in value["parameters"].items()}
    if value["class"] in shapes.__all__:
        return getattr(shapes, value["class"])(**parameters)
    from gpu_smds import parametrization

    return getattr(parametrization, value["class"])(**parameters)
