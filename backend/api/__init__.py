"""What every app shares at the edge: errors, pagination, health."""
