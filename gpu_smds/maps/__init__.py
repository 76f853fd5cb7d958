"""The public maps over all sites and their results, without any algebra."""
