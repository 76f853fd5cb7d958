"""All file access of the three packages: opening, writing, replacing and deleting.

Files are accessed by plain names relative to an open folder, so that no link is followed and no
name leads to another folder. A file is replaced only if its content shows that this program wrote
it.
"""

from gpu_smds._files.file import File
from gpu_smds._files.folder import FilesError, Folder, plain
from gpu_smds._files.kinds import SOFTWARE, csv_with, is_our_picture, metadata_of, tensors_of
from gpu_smds._files.tensors import read_tensors, save_tensors, tensor_bytes

__all__ = [
    "SOFTWARE",
    "File",
    "FilesError",
    "Folder",
    "csv_with",
    "is_our_picture",
    "metadata_of",
    "plain",
    "read_tensors",
    "save_tensors",
    "tensor_bytes",
    "tensors_of",
]
