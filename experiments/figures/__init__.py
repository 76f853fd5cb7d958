"""Figures: numpy arrays in, PNG files out. Nothing here computes a score."""

from experiments.figures.alignment import draw_alignment
from experiments.figures.circle import CirclePanel, draw_circle
from experiments.figures.comparison import Model, draw_comparison
from experiments.figures.curves import draw_independent
from experiments.figures.fonts import undrawable_words
from experiments.figures.heatmap import draw_map
from experiments.figures.significance import draw_significance
from experiments.figures.similarity import draw_similarity
from experiments.figures.transfer import draw_layer_transfer, draw_transfer
from experiments.figures.winners import draw_winners

__all__ = [
    "CirclePanel",
    "Model",
    "draw_alignment",
    "draw_circle",
    "draw_comparison",
    "draw_independent",
    "draw_layer_transfer",
    "draw_map",
    "draw_significance",
    "draw_similarity",
    "draw_transfer",
    "draw_winners",
    "undrawable_words",
]
