"""Memory that is used again, by one thread and while it is kept."""

import threading

import torch

from gpu_smds.kernels.workspace import drop_workspace, keep_workspace, workspace


def test_the_workspace_is_reused_while_it_is_kept():
    like = torch.zeros(1, dtype=torch.float64)
    one, other = workspace("a", (3, 4), like), workspace("a", (3, 4), like)
    assert one.data_ptr() != other.data_ptr()
    keep_workspace()
    first = workspace("a", (3, 4), like)
    assert workspace("a", (2, 2), like).data_ptr() == first.data_ptr()
    assert workspace("b", (2, 2), like).data_ptr() != first.data_ptr()
    assert workspace("a", (2, 2), like.float()).dtype == torch.float32
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(workspace("a", (3, 4), like)))
    thread.start()
    thread.join()
    assert elsewhere[0].data_ptr() != first.data_ptr()
    drop_workspace()
    assert workspace("a", (3, 4), like).data_ptr() != first.data_ptr()
