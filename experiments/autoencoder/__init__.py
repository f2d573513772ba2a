"""Autoencoders: linear, sparse, denoising, contractive, stacked, with stochastic codes."""
