"""The one place that opens, writes, replaces and deletes files, for all three packages.

Files are reached by plain names from a folder that is held open, so that no link is followed and no
name leads elsewhere. A file is replaced only where its content says that this program wrote it.
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
