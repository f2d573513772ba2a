"""A bidirectional language model of sentences, whose states are features."""
