"""Checks of arguments, each with an error that says what to pass instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def as_labels(y: Any, n: int, constant: bool = False) -> np.ndarray:
    """Labels as float64 ``(n,)`` or ``(n, k)``.

    Raises
    ------
    ValueError
        Wrong length or shape, NaN or inf, or all labels equal (unless ``constant`` allows it).
    """
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu()
    try:
        labels = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"labels must be numbers: {error}") from error
    if labels.ndim not in (1, 2):
        raise ValueError(f"labels must be (n,) or (n, k), got shape {labels.shape}")
    if len(labels) != n:
        raise ValueError(f"X has {n} samples but y has {len(labels)} labels")
    if not np.isfinite(labels).all():
        bad = int((~np.isfinite(labels)).reshape(n, -1).any(1).sum())
        raise ValueError(f"{bad} of {n} labels are NaN or infinite: remove those samples")
    if not constant and (labels == labels[0]).all():
        raise ValueError("all labels are equal: there is no geometry to find")
    return labels


def as_alphas(alpha: Any) -> tuple[tuple[float, ...], bool]:
    """Ridge penalties and whether a list was given."""
    is_list = isinstance(alpha, Sequence | np.ndarray)
    alphas = tuple(float(value) for value in (alpha if is_list else (alpha,)))
    if not alphas:
        raise ValueError("alpha is an empty list")
    for value in alphas:
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"alpha must be finite and not negative, got {value}")
    return alphas, is_list


def as_list(value: Any, name: str) -> tuple[list[Any], bool]:
    """A list or tuple as a list, anything else as a list of one."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError(f"{name} is an empty list")
        return list(value), True
    return [value], False


def as_dtype(dtype: Any) -> torch.dtype:
    """Dtype of the large matrices of a ridge fit; None is float64."""
    if dtype not in (None, torch.float64, torch.float32):
        raise ValueError(
            f"dtype must be None, torch.float64 or torch.float32, got {dtype}: lower precision "
            "does not hold a ridge fit on real hidden states"
        )
    chosen: torch.dtype = dtype or torch.float64
    return chosen


def check_choice(value: Any, choices: Sequence[Any], name: str) -> None:
    """Raise ValueError listing the choices."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}, got {value!r}")


def resolve_device(device: Any, default: torch.device) -> torch.device:
    """A torch device; None means where the states are.

    Raises
    ------
    ValueError
        CUDA asked for and not available.
    """
    chosen = default if device is None else torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but torch sees no CUDA device here")
    if str(chosen) == "cuda":
        # Another thread's current device need not be that of the caller.
        chosen = torch.device("cuda", torch.cuda.current_device())
    return chosen
