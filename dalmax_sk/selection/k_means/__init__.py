"""k-means, and k-means++ as seeding or sampling."""
