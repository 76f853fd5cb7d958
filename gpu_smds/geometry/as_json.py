"""Manifolds and parametrizations as JSON, so that they can be saved in files."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from gpu_smds._arguments import one_line, shown
from gpu_smds.geometry.shapes import SHAPES, BaseShape

# Classes that a file may name in addition to the named shapes. No other class is ever looked up by
# a name from a file.
_PARAMETRIZATIONS = ("ComputedSMDSParametrization", "UserProvidedSMDSParametrization")
# The deepest usual value is a shape in a parametrization; the limit leaves some room.
_DEEPEST = 4


def as_json(value: Any) -> Any:
    """A plain value, an array, or a shape or parametrization of this library, as JSON.

    Raises
    ------
    ValueError
        The value is code of the user: a callable, or a class that is not of this library.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return {"array": np.asarray(value).tolist()}
    name = type(value).__name__
    if isinstance(value, BaseShape) and _class(name) is type(value):
        parameters = value.parameters()
    elif name in _PARAMETRIZATIONS and _class(name) is type(value):
        parameters = value.get_params(deep=False)
    else:
        raise ValueError(
            f"{name} is code of your own, which a file cannot hold: save models whose manifold "
            "is a name or a shape of gpu_smds"
        )
    return {"class": name, "parameters": {k: as_json(v) for k, v in parameters.items()}}


def from_json(value: Any) -> Any:
    """Undo :func:`as_json`.

    Raises
    ------
    ValueError
        The value was not written by :func:`as_json`: it has another class, parameters that the
        constructor does not take, parameters of another type than their defaults, or too many
        levels.
    """
    return _from_json(value, 0)


def _from_json(value: Any, level: int) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"a saved value may not be {shown(value)}")
    if level > _DEEPEST:
        raise ValueError(f"a saved value has more than {_DEEPEST} levels")
    if value.keys() == {"array"}:
        return _array(value["array"])
    if value.keys() != {"class", "parameters"} or not isinstance(value["parameters"], dict):
        raise ValueError("a saved value must have a class and its parameters, or be an array")
    parameters = {name: _from_json(v, level + 1) for name, v in value["parameters"].items()}
    known = _class(value["class"])
    if known is None:
        raise ValueError(
            f"a saved value names {shown(value['class'])}, a class that no file may name"
        )
    return _construct(known, parameters)


def _class(name: Any) -> type[Any] | None:
    """The class of this library with this name; None if a file may not name it."""
    if not isinstance(name, str):
        return None
    if name in _PARAMETRIZATIONS:
        # scikit-learn takes more than a second to import.
        from gpu_smds.geometry import parametrization

        return {
            "ComputedSMDSParametrization": parametrization.ComputedSMDSParametrization,
            "UserProvidedSMDSParametrization": parametrization.UserProvidedSMDSParametrization,
        }[name]
    shapes = (type(make()) for make in SHAPES.values())
    return {shape.__name__: shape for shape in shapes}.get(name)


def _array(values: Any) -> np.ndarray:
    """An array from a list of plain values, or from nested lists of equal length."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"a saved array cannot be read: {one_line(error)}") from error
    if not isinstance(values, list) or array.dtype.kind not in "biufU":
        raise ValueError(f"a saved array must be a list of numbers, got {shown(values)}")
    return array


def _construct(cls: type[Any], parameters: dict[str, Any]) -> Any:
    """An object of one of our classes, with parameters from a file."""
    takes = inspect.signature(cls).parameters
    for name, value in parameters.items():
        if name not in takes:
            raise ValueError(f"{cls.__name__} takes no parameter {shown(name)}")
        _check_kind(f"{name} of {cls.__name__}", value, takes[name].default)
    try:
        return cls(**parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{cls.__name__} cannot be made: {one_line(error)}") from error


def _check_kind(what: str, value: Any, default: Any) -> None:
    """Raise ValueError if a value has another type than the default of its parameter."""
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, int):
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(default, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = number and math.isfinite(value)
    elif isinstance(default, tuple):
        fits = isinstance(value, np.ndarray) and value.shape == (len(default),)
        fits = fits and value.dtype.kind in "iuf" and bool(np.isfinite(value).all())
    else:
        fits = True
    if not fits:
        raise ValueError(f"{what} may not be {shown(value)}")
