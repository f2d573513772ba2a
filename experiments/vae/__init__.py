"""A variational autoencoder of images."""
