"""States as they are given: which kinds are read, which are refused, and in what precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import one_line, refuse_masked, refuse_special, shown


def as_states(X: Any) -> Any:
    """States as given, or a list of them as an array.

    Raises
    ------
    TypeError, ValueError
        X is not an array and cannot be read like one, such as a table, a dictionary or arrays of
        different shapes; it is sparse, quantized, nested, without values or of Python objects; or
        it has masked entries, which would be used as states.
    """
    refuse_special(X, "X")
    refuse_masked(X, "X")
    if isinstance(X, list | tuple):
        X = _stacked(X)
    # A table has a dtype as well if one of its columns is called so.
    if hasattr(X, "to_numpy") and hasattr(X, "columns"):
        raise TypeError(f"X is a {type(X).__name__}: pass X.to_numpy()")
    if isinstance(X, type) or not hasattr(X, "shape") or not hasattr(X, "dtype"):
        raise TypeError(
            "X must be a torch tensor, a numpy array or an object with shape, dtype and "
            f"X[:, sites], got {type(X).__name__}"
        )
    if isinstance(X, np.ndarray) and X.dtype == object:
        raise TypeError(
            "X must be floating point, got Python objects: pass np.array(list(X), dtype=float)"
        )
    if isinstance(X, Tensor):
        _refuse_packed(X.dtype)
    return X


def _stacked(parts: list[Any] | tuple[Any, ...]) -> Any:
    """One array of a list of numbers, arrays or tensors."""
    if parts and all(isinstance(part, Tensor) for part in parts):
        shapes = list(dict.fromkeys(tuple(part.shape) for part in parts))
        if len(shapes) == 1:
            return torch.stack(list(parts))  # numpy has no bfloat16 and no float8
        raise ValueError(_ragged(f" (here {shapes[0]} and {shapes[1]})"))
    try:
        return np.asarray(parts)
    except (TypeError, ValueError) as error:
        if "inhomogeneous" in str(error):
            raise ValueError(_ragged("")) from error
        raise ValueError(f"X must be an array: {one_line(error)}") from error


def _ragged(shapes: str) -> str:
    """What to do with samples of different shapes."""
    return (
        f"X must be an array, but its parts differ in shape{shapes}: take the same number of "
        "tokens from every sample, such as the last one"
    )


def check_part(part: Any, index: tuple[Any, ...], n: int, d: int) -> None:
    """Raise ValueError if the array that a store returned for ``X[index]`` is not as expected.

    Parameters
    ----------
    part
        The array that the store returned.
    index
        ``(:,)`` of a single site, else ``(:, ..., a:b)`` of sites a to b.
    n, d
        Samples and features by ``X.shape``.
    """
    refuse_special(part, "X")  # a nested tensor has no shape
    expected = (n, d) if len(index) == 1 else (n, index[-1].stop - index[-1].start, d)
    array = part if hasattr(part, "shape") and hasattr(part, "dtype") else np.asarray(part)
    found = tuple(array.shape)
    if found != expected:
        *lead, last = [str(i) if isinstance(i, int) else ":" for i in index]
        last = last if len(index) == 1 else f"{index[-1].start}:{index[-1].stop}"
        raise ValueError(
            f"X[{', '.join([*lead, last])}] gave shape {found}, expected {expected} by X.shape"
        )
    refuse_masked(array, "X")
    dtype = array.dtype
    floating = dtype.is_floating_point if isinstance(dtype, torch.dtype) else dtype.kind == "f"
    if not floating:
        raise ValueError(f"X[...] gave {dtype}, expected floating point by X.dtype")


def shape_of(X: Any) -> tuple[int, ...]:
    """``X.shape`` as integers.

    Raises
    ------
    TypeError, ValueError
        It holds anything else, or a negative number.
    """
    try:
        shape = tuple(int(size) for size in X.shape)
    except (TypeError, ValueError):
        raise TypeError(f"X.shape must be integers, got {shown(X.shape)}") from None
    if any(size < 0 for size in shape):
        raise ValueError(f"X.shape must not be negative, got {shape}")
    return shape


def float_dtype(dtype: Any) -> torch.dtype:
    """The dtype of states, of numpy or torch, as one of torch.

    Raises
    ------
    TypeError
        It is not real floating point of 8 to 64 bits.
    """
    if not isinstance(dtype, torch.dtype):
        try:
            kind = np.dtype(dtype)
            plain = torch.from_numpy(np.empty(0, dtype=kind.newbyteorder("="))).dtype
        except TypeError:
            plain = None
        # numpy interprets None as float64.
        if dtype is None or plain is None:
            raise TypeError(
                f"X must be floating point of at most 64 bits, got {shown(dtype)}: convert it "
                "with X.astype(float)"
            )
        dtype = plain
    if dtype.is_complex:
        raise TypeError(f"X must be real, got {dtype}: pass the real part, or both as features")
    if not dtype.is_floating_point:
        raise TypeError(f"X must be floating point, got {dtype}: convert it with X.astype(float)")
    _refuse_packed(dtype)
    result: torch.dtype = dtype
    return result


def _refuse_packed(dtype: torch.dtype) -> None:
    if dtype == torch.float4_e2m1fn_x2:
        raise TypeError(f"X must hold one number per byte or more, got {dtype}: unpack it first")


def as_tensor(array: Any) -> Tensor:
    """States that were read, as a tensor; a view of them where that is possible."""
    if isinstance(array, Tensor):
        return array.detach()
    array = np.asarray(array)
    native = array.dtype.newbyteorder("=")
    if not array.flags.writeable or array.dtype != native or min(array.strides, default=0) < 0:
        array = array.astype(native, copy=True)
    return torch.from_numpy(array)


def without_float8(states: Tensor) -> Tensor:
    """States of float8 as float32, which holds every value of theirs; others as they are.

    The threshold for constant states is a multiple of the machine epsilon, because what varies by
    less may be the noise of a forward pass. An epsilon of float8 is 1/8 or more, so that nothing
    varies by more than 8·eps of its size. Two numbers of 8 bits that differ, however, do so by
    much more than noise. Such states are therefore judged by the epsilon of float32: features that
    vary at all are used, and only those that are the same in every sample count as constant.
    """
    return states.float() if states.is_floating_point() and states.itemsize == 1 else states
