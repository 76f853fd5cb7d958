"""Labels to ideal distances and embeddings. Knows nothing of hidden states."""
