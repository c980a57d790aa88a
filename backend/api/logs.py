"""One record is one line: line breaks and escape codes in what users sent cannot forge log lines.

A line carries the ids of the request that it was written for. LOG_FORMAT=json writes each as an object, with the id of
the trace if there is one.
"""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from backend.api.requests import told
from vectorstore import spans

ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != 0x09}
ESCAPES |= {0x0A: "\\n", 0x0D: "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}

FACTS = ("method", "route", "status", "ms", "reference")  # what a record may bring along; nothing else is written


class OneLine(logging.Formatter):
    """The message on one escaped line; only a traceback of our own follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name is logging's)
        line = super().formatMessage(record)
        if (now := told()) is not None:
            line += f" [{now.id}]"
        return line.translate(ESCAPES)


class JSONLine(logging.Formatter):
    """Moment, level, logger, message, the ids of request, user, conversation and trace, and FACTS."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (now := told()) is not None:
            line["request_id"] = now.id
            if (user := now.user) is not None:
                line["user_id"] = user
            if now.conversation:
                line["conversation_id"] = now.conversation
        if trace := spans.trace_id():
            line["trace_id"] = trace
        line |= {name: getattr(record, name) for name in FACTS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
