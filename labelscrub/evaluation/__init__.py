"""Noise to try things on, and how well it was found."""
