"""Conversations, messages, citations: what was asked and what was answered."""
