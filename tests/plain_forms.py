"""The plain forms in the place of the fast ones."""


def without_fused_forms(monkeypatch) -> None:
    """As on a machine without numba or Triton; the projections take plain sums all the same."""
    for module in ("kernels.pair_term", "sites.centred_by_passes", "metrics.reference"):
        monkeypatch.setattr(f"gpu_smds.{module}.has_fused", lambda device: False)
