"""A run: its folder and manifest, its states, its analyses and their results."""
