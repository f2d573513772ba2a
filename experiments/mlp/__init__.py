"""Classification and regression by a feed-forward network."""
