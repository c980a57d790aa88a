"""What can go wrong between a question and its answer. Abstention is none of it: that is an answer.

ChainError
├── UnknownPrompt      no such file in chains/prompts
├── UnknownModel       CHAT_MODEL names no provider or model that can be loaded
└── ModelUnavailable   the chat model did not answer: refused, timed out, broke off, or made no sense
"""


class ChainError(Exception):
    """Something between question and answer failed; `str(error)` is fit for users."""


class UnknownPrompt(ChainError):
    """No such file in chains/prompts."""


class UnknownModel(ChainError):
    """CHAT_MODEL names no provider or model that can be loaded."""


class ModelUnavailable(ChainError):
    """The chat model did not answer. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
