"""Hidden states of any store: read block by block, centred, and passed to jobs; no labels here."""
