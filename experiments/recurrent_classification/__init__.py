"""Text classification by a recurrent network with pooling."""
