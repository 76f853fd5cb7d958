"""What tells a file that this program wrote from any other, by its first bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

#: Written into the pictures that are drawn, as their ``Software``.
SOFTWARE = "gpu_smds"
_PICTURE = b"\x89PNG\r\n\x1a\n"


def is_our_picture(head: bytes) -> bool:
    """Whether a file is a PNG picture that says it was drawn here."""
    return head.startswith(_PICTURE) and b"tEXtSoftware\0" + SOFTWARE.encode() in head


def tensors_of(kind: str) -> Callable[[bytes], bool]:
    """Test for safetensors files whose metadata have the entry ``kind``."""

    def ours(head: bytes) -> bool:
        try:
            return kind in metadata_of(head)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return False

    return ours


def metadata_of(head: bytes) -> dict[str, str]:
    """Metadata of a safetensors file that begins like this; none where its header has none.

    Raises
    ------
    ValueError, TypeError, AttributeError, RecursionError
        It is damaged, forged or no such file.
    """
    header = json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])
    return dict(header.get("__metadata__") or {})


def csv_with(columns: Sequence[str]) -> Callable[[bytes], bool]:
    """Test for CSV files with these first columns."""
    line = ",".join(columns).encode()
    return lambda head: head.split(b"\n", 1)[0].rstrip(b"\r").startswith(line)
