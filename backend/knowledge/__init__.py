"""The catalogue: what is indexed, and the one way in."""
