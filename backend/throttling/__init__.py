"""How often one may: counters that all processes share, and what looks at them."""
