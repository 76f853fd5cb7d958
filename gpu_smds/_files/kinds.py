"""Recognition of the files that this program wrote, by their first bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

#: Value of the ``Software`` entry of the pictures that this program draws.
SOFTWARE = "gpu_smds"
_PICTURE = b"\x89PNG\r\n\x1a\n"


def is_our_picture(head: bytes) -> bool:
    """Whether a file is a PNG picture whose ``Software`` entry names this program."""
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
    """Metadata of a safetensors file, from its first bytes; empty if its header has none.

    Raises
    ------
    ValueError, TypeError, AttributeError, RecursionError
        The file is damaged, forged or not a safetensors file.
    """
    header = json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])
    return dict(header.get("__metadata__") or {})


def csv_with(columns: Sequence[str]) -> Callable[[bytes], bool]:
    """Test for CSV files with these first columns."""
    line = ",".join(columns).encode()
    return lambda head: head.split(b"\n", 1)[0].rstrip(b"\r").startswith(line)
