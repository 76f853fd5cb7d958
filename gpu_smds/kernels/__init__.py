"""Array functions for the CPU and for CUDA: matrix products, factorisations, compiled loops."""
