"""Django: identity, history, catalogue, HTTP."""
