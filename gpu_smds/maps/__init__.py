"""The public maps over all sites and their results. No algebra."""
