"""Hidden states of any store, read block by block, centred, and shown to jobs. Knows no labels."""
