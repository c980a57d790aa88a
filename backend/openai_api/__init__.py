"""OpenAI's wire format over what Footnote does: its clients work unchanged. Nothing imports this but the URLs."""
