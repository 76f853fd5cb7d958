"""Checks of arguments. Every error is one line and says what to pass instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from reprlib import Repr
from typing import Any

import numpy as np
import torch

from gpu_smds._memory import SMALL, check_fits, free_memory, in_words, total_memory

# Bytes that may be used on the CPU by default, even if less memory is free.
_CPU_BUDGET = 512 << 20
# Indices and sizes of arrays are below this.
_COUNTABLE = 2**63
_REPR = Repr()
_REPR.maxother = _REPR.maxstring = 60


def shown(value: Any) -> str:
    """A value for an error message: its ``repr`` in one line, cut if it is long."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    try:
        return " ".join(_REPR.repr(value).split())
    except ValueError:  # an integer inside it has too many digits
        return f"a {type(value).__name__}"


def one_line(error: BaseException) -> str:
    """The message of another library's error, in one line."""
    return " ".join(str(error).split())


def as_flag(value: Any, name: str) -> bool:
    """True or False.

    Raises
    ------
    TypeError
        Not a bool. (The text "False" would count as true.)
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def as_integer(value: Any, name: str, least: int = 0, countable: bool = True) -> int:
    """An integer of at least ``least``, and below 2**63 unless ``countable`` is false.

    Raises
    ------
    TypeError
        Not an integer; floats and booleans are refused, too.
    ValueError
        Out of range.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    number = int(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {shown(number)}")
    if countable and number >= _COUNTABLE:
        raise ValueError(f"{name} must be below 2**63, got {shown(number)}")
    return number


def as_share(value: Any, name: str) -> float:
    """A number between 0 and 1, such as a level of significance.

    Raises
    ------
    TypeError, ValueError
        Not a number, or outside of 0 to 1, such as a percentage.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number between 0 and 1, got {shown(value)}")
    share = float(value)
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {shown(value)}")
    return share


def refuse_masked(value: Any, name: str) -> None:
    """Raise ValueError for masked entries: the values under the mask would be used."""
    # A list that holds masked arrays or numpy.ma.masked would lose the mask as well.
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(np.ma.is_masked(part) for part in parts):
        raise ValueError(f"{name} has masked entries: fill or drop them")


def refuse_special(value: Any, name: str) -> None:
    """Raise TypeError for tensors and matrices that are not plain arrays, naming the conversion."""
    if isinstance(value, torch.masked.MaskedTensor):
        raise TypeError(
            f"{name} is a MaskedTensor: fill or drop masked entries, then pass {name}.get_data()"
        )
    if hasattr(value, "tocsr"):  # some are dictionaries as well
        raise TypeError(f"{name} is a sparse matrix: pass {name}.toarray()")
    if isinstance(value, Mapping):
        raise TypeError(f"{name} is a {type(value).__name__}: pass its values as one array")
    if isinstance(value, list | tuple):
        for i, part in enumerate(value):
            if isinstance(part, torch.Tensor):
                refuse_special(part, f"{name}[{i}]")
    elif isinstance(value, torch.Tensor):
        if value.is_nested:
            raise TypeError(
                f"{name} is a nested tensor: bring its parts to one shape and pass "
                f"torch.stack({name}.unbind())"
            )
        if value.is_quantized:
            raise TypeError(f"{name} is a quantized tensor: pass {name}.dequantize()")
        if value.layout != torch.strided:
            raise TypeError(f"{name} is a sparse tensor: pass {name}.to_dense()")
        if value.is_meta:
            raise TypeError(f"{name} is on the device 'meta' and has no values: load them first")


def as_real(value: Any, name: str) -> np.ndarray:
    """Numbers of any kind as float64, on the CPU.

    Raises
    ------
    TypeError, ValueError
        Values that numpy would convert, but that are not real numbers: text, dates, complex numbers
        (their imaginary part would be lost) and masked arrays (their mask would be lost).
    """
    # Most calls return here: their labels have been checked before.
    if type(value) is np.ndarray and value.dtype == np.float64:
        return value
    refuse_special(value, name)
    if isinstance(value, torch.Tensor):
        if value.dtype == torch.float64 and value.is_cpu:
            return value.detach().resolve_neg().numpy()
        value = value.detach().cpu().resolve_conj().resolve_neg()
        # numpy has no bfloat16.
        value = value.double() if value.is_floating_point() else value
    refuse_masked(value, name)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {one_line(error)}") from error
    kind = array.dtype.kind
    if kind == "c":
        raise ValueError(f"{name} must be real, got complex numbers: take their real part")
    if kind not in "fiubO" or (kind == "O" and any(isinstance(v, str | bytes) for v in array.flat)):
        raise ValueError(f"{name} must be numbers, got {array.dtype}: convert them first")
    try:
        numbers: np.ndarray = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numbers: {one_line(error)}") from error
    if kind in "iu" and (numbers.astype(array.dtype) != array).any():
        raise ValueError(f"{name} hold integers beyond 2**53, which differ by less than rounding")
    return numbers


def as_alphas(alpha: Any, name: str = "alpha") -> tuple[tuple[float, ...], bool]:
    """Ridge penalties and whether a list was given.

    Raises
    ------
    TypeError, ValueError
        Anything but real numbers that are finite and not negative; an empty list.
    """
    refuse_special(alpha, name)
    refuse_masked(alpha, name)
    if isinstance(alpha, torch.Tensor):
        alpha = alpha.detach().cpu().double().numpy() if alpha.is_floating_point() else alpha
        alpha = np.asarray(alpha)
    if isinstance(alpha, np.ndarray) and alpha.ndim != 1:
        if alpha.ndim:
            raise ValueError(f"{name} must be a number or a list, got shape {alpha.shape}")
        alpha = alpha.item()
    is_list = isinstance(alpha, Sequence | np.ndarray) and not isinstance(alpha, str | bytes)
    if is_list:
        _check_length(alpha, name)
    alphas = tuple(_as_alpha(value, name) for value in (alpha if is_list else (alpha,)))
    if not alphas:
        raise ValueError(f"{name} is an empty list")
    return alphas, is_list


def _check_length(values: Sequence[Any] | np.ndarray, name: str) -> None:
    """Raise ValueError for a list that does not fit the memory as floats, such as range(10**12)."""
    count = len(values)
    check_fits(32 * count, f"{name} of {count:,} values", "their list", torch.device("cpu"))


def _as_alpha(value: Any, name: str) -> float:
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | Decimal):
        raise TypeError(f"{name} must be a real number, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not (np.isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {shown(value)}")
    return number


def as_list(value: Any, name: str) -> tuple[list[Any], bool]:
    """A list or tuple as a list, anything else as a list of one."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError(f"{name} is an empty list")
        return list(value), True
    return [value], False


def as_dtype(dtype: Any) -> torch.dtype:
    """Dtype of the large matrices of a ridge fit; None is float64."""
    if dtype is None:
        return torch.float64
    if not isinstance(dtype, torch.dtype) or dtype not in (torch.float64, torch.float32):
        raise ValueError(
            f"dtype must be None, torch.float64 or torch.float32, got {shown(dtype)}: lower "
            "precision is not enough for a ridge fit on real hidden states"
        )
    return dtype


def check_choice(value: Any, choices: Sequence[str | bool | None], name: str) -> None:
    """Raise ValueError, with the list of choices, if the value is none of them."""
    # Only text is compared by value: 1 == True, and comparing an array gives an array.
    if not any(value is c or (isinstance(value, str) and value == c) for c in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}, got {shown(value)}")


def resolve_device(device: Any, default: torch.device) -> torch.device:
    """A torch device, CPU or CUDA; None gives ``default``, the device of the states.

    Raises
    ------
    TypeError, ValueError
        Another kind of device, or CUDA if it is not available.
    """
    if device is None:
        chosen = default
    elif isinstance(device, bool) or not isinstance(device, str | int | torch.device):
        raise TypeError(f"device must be None, 'cpu' or 'cuda', got {shown(device)}")
    else:
        try:
            chosen = torch.device(device)
        except RuntimeError:
            raise ValueError(f"device must be 'cpu' or 'cuda', got {shown(device)}") from None
    if chosen.type == "cpu":
        return torch.device("cpu")
    if chosen.type != "cuda":
        raise ValueError(f"device must be 'cpu' or 'cuda', got {str(chosen)!r}")
    if not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but torch sees no CUDA device here")
    # The index is resolved here, since other threads may have another current device.
    index = torch.cuda.current_device() if chosen.index is None else chosen.index
    if index >= torch.cuda.device_count():
        raise ValueError(f"device {str(chosen)!r} was asked for, but torch sees no such device")
    return torch.device("cuda", index)


def resolve_budget(memory_budget: Any, device: torch.device) -> int:
    """Bytes to allocate beyond the input: the given number, or a share of the free memory.

    Raises
    ------
    TypeError, ValueError
        Not a whole number, not above 0, or more than the total memory of the device.
    """
    if memory_budget is None:
        if device.type == "cuda":
            return free_memory(device) // 2
        return max(_CPU_BUDGET, free_memory(device) // 8)
    # A float is accepted if it is a whole number, such as 2e9; infinity is not.
    whole = isinstance(memory_budget, float | np.floating) and float(memory_budget).is_integer()
    if not whole and (isinstance(memory_budget, bool) or not isinstance(memory_budget, Integral)):
        raise TypeError(
            f"memory_budget must be a whole number of bytes, such as 4 * 10**9, or None, got "
            f"{shown(memory_budget)}"
        )
    budget = int(memory_budget)
    if budget <= 0:
        raise ValueError(f"memory_budget must be a positive number of bytes, got {shown(budget)}")
    if budget > SMALL and 0 < (total := total_memory(device)) < budget:
        raise ValueError(
            f"memory_budget is {in_words(budget)}, but the {device.type} has {in_words(total)} in "
            "all: give less, or None for a share of the free memory"
        )
    return budget
