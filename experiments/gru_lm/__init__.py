"""A character language model with a recurrent network."""
