"""Measured comparisons with smds."""
