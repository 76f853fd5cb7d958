"""Arrays to arrays, on the CPU and on CUDA: matrix products, factors, compiled loops."""
