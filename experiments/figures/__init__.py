"""Figures: arrays in, PNG files out. Nothing here computes a score."""

from experiments.figures.circle import CirclePanel, draw_circle
from experiments.figures.comparison import ModelScores, draw_comparison
from experiments.figures.heatmap import draw_independent, draw_map
from experiments.figures.misalignment import draw_misalignment
from experiments.figures.similarity import draw_similarity
from experiments.figures.sites import Axes2D

__all__ = [
    "Axes2D",
    "CirclePanel",
    "ModelScores",
    "draw_circle",
    "draw_comparison",
    "draw_independent",
    "draw_map",
    "draw_misalignment",
    "draw_similarity",
]
