"""Inference on scores: permutation tests, intervals, nested cross-validation, comparisons."""
