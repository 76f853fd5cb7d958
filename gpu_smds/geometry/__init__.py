"""From labels to ideal distances and embeddings; no hidden states are used here."""
