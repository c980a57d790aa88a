"""Drafts of questions, for a person to check: from the documents of a data set, or from chats that went wrong.

Drafts go to `drafts.jsonl` beside `questions.jsonl`, which alone is asked. Each says under `check` what to look at.

From documents: passages drawn with a seed, the files in turn. A chat model writes a question and copies the answer; a
draft whose answer does not stand in the passage word for word is thrown away. Without a model, the passage itself is
turned around: the question of a FAQ pair, "What is ...?" for a sentence that says what something is, a gap for the
figure of a sentence that has one. Such drafts share words with their passage and are too easy until they are reworded.

From chats: questions of this instance's users whose answer was declined or disliked. They are real, so they are
personal data: look at them before you pass them on.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chains.sentences import split
from chains.words import STOPWORDS

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from loaders.model import Chunk

FILE = "drafts.jsonl"
SHORTEST, LONGEST = 7, 45  # words of a sentence that is turned into a question
PROMPT = Path(__file__).parent / "prompts" / "draft.md"
REWORD = "Reword it as a user would ask it, then shorten the answer to what counts."
GAP = "____"

Draft = dict[str, Any]

_SAYS_WHAT = re.compile(
    r"^(?P<article>The |An? )?(?P<subject>[A-Za-z][\w'’/-]*(?: (?!is |are |was |were )[\w'’/-]+){0,3}) "
    r"(?P<verb>is|are|was|were) (?P<rest>(?:an?|the|one) .{8,})$"
)
_FIGURE = re.compile(
    r"(?<![\w.,])\d+(?:[.,:]\d+)*(?: ?%| (?:days?|weeks?|months?|years?|hours?|minutes?|euros?|MB|GB))?(?!\w)"
)


class CannotDraft(Exception):
    """Nothing can be drafted; the message says why."""


def from_documents(folder: Path, number: int, seed: int, model: str | None) -> list[Draft]:
    """At most `number` drafts from the files of a data set. CannotDraft."""
    files = folder / "files"
    if not files.is_dir():
        raise CannotDraft(f"There is no folder {files}; `python -m evals init {folder}` writes one to start from.")
    llm = _load_model(model)
    passages = _passages(files, seed)
    if not passages:
        raise CannotDraft(f"No text could be read from the files in {files}.")
    made: list[Draft] = []
    for name, chunk in passages:
        draft = _write(chunk, llm) if llm is not None else _turn_around(chunk)
        if draft is not None:
            text = draft.pop("place", chunk.text)
            gold = [{"file": name, **({"page": chunk.page} if chunk.page else {"text": text})}]
            made.append({"id": _name(name, draft["question"]), **draft, "gold": gold, "tags": ["draft"]})
        if len(made) == number:
            break
    return made


def from_chats(folder: Path, number: int) -> list[Draft]:
    """The latest `number` questions whose answers were declined or disliked. CannotDraft when nothing is there."""
    if not folder.is_dir():
        raise CannotDraft(f"There is no folder {folder}; `python -m evals init {folder}` writes one to start from.")
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    import django

    django.setup()
    from django.db import DatabaseError

    from backend.chat.selectors import answers_that_went_wrong

    try:
        rows = answers_that_went_wrong(number)
    except DatabaseError as error:
        raise CannotDraft(f"This instance's chats cannot be read: {error}") from error
    return [
        {
            "id": _name("chat", row.question),
            "question": row.question,
            "answers": [],
            "gold": [],
            "history": [{"role": role, "content": text} for role, text in row.history],
            "tags": ["draft", row.why],
            "check": f"It was {row.why}. Do the documents hold the answer? Then add `gold` and `answers`; otherwise "
            "leave them empty. Take out what names a person.",
            "answered": row.answer,
            "comment": row.comment,
            "nearest": row.nearest,
        }
        for row in rows
    ]


def add(folder: Path, drafts: Iterable[Draft]) -> int:
    """Append the drafts that are neither drafted nor asked yet; returns how many."""
    known: set[str] = set()
    for path in (folder / FILE, folder / "questions.jsonl"):
        if path.is_file():
            known |= {_question(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    new = []
    for draft in drafts:
        if draft["question"] not in known:
            known.add(draft["question"])
            new.append(json.dumps({k: v for k, v in draft.items() if v not in (None, "")}, ensure_ascii=False) + "\n")
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.writelines(new)
    return len(new)


def _passages(files: Path, seed: int) -> list[tuple[str, Chunk]]:
    """All passages of all files that can be read, each file's in a drawn order, the files in turn."""
    from loaders.errors import LoadError
    from loaders.parser import Limits, Parser
    from vectorstore.embeddings import tokenizer_path

    by_file: dict[str, list[Chunk]] = defaultdict(list)
    with Parser(tokenizer_path(), Limits()) as parser:
        for path in sorted(files.rglob("*")):
            if path.is_file():
                name = path.relative_to(files).as_posix()
                try:
                    by_file[name] = list(parser.parse(path, name).chunks)
                except LoadError:
                    continue
    draw = random.Random(seed)  # noqa: S311 (a draw, not a secret)
    for chunks in by_file.values():
        draw.shuffle(chunks)
    names = sorted(by_file)
    draw.shuffle(names)
    longest = max((len(chunks) for chunks in by_file.values()), default=0)
    return [(name, by_file[name][i]) for i in range(longest) for name in names if i < len(by_file[name])]


def _turn_around(chunk: Chunk) -> Draft | None:
    if chunk.kind == "faq" and chunk.heading and chunk.answer_start is not None:
        answer = " ".join(chunk.text[max(0, chunk.answer_start - chunk.start) :].split())
        check = f"The document asks it in these words. {REWORD}"
        return {"question": chunk.heading[-1], "answers": [answer], "check": check, "place": chunk.heading[-1]}
    sentences = list(_sentences(chunk))
    for sentence in sentences:
        match = _SAYS_WHAT.match(sentence)
        if match and not {word.casefold() for word in match["subject"].split()} & STOPWORDS:
            question = f"What {match['verb']} {(match['article'] or '').lower()}{match['subject']}?"
            return {"question": question, "answers": [match["rest"].rstrip(".")], "check": REWORD, "place": sentence}
    for sentence in sentences:
        match = _FIGURE.search(sentence)
        if match:
            gapped = f"{sentence[: match.start()]}{GAP}{sentence[match.end() :]}"
            check = "Turn the sentence with the gap into a question."
            return {"question": gapped, "answers": [match.group()], "check": check, "place": sentence}
    return None


def _sentences(chunk: Chunk) -> Iterator[str]:
    for unit in split(chunk.text, typeset=chunk.page is not None):
        text = " ".join(chunk.text[unit.start : unit.end].split())
        if unit.kind == "sentence" and SHORTEST <= len(text.split()) <= LONGEST and text[-1] in ".!":
            yield text


def _write(chunk: Chunk, llm: BaseChatModel) -> Draft | None:
    """A draft by the chat model; None when it makes no sense. CannotDraft when the model cannot be reached."""
    from langchain_core.messages import HumanMessage, SystemMessage

    try:
        reply = llm.invoke([SystemMessage(PROMPT.read_text("utf-8")), HumanMessage(chunk.embed_text)]).text
    except Exception as error:
        raise CannotDraft(f"The chat model did not answer ({type(error).__name__}).") from error
    found = re.search(r"\{.*\}", reply, re.DOTALL)
    try:
        row = json.loads(found.group()) if found else {}
    except ValueError:
        return None
    question, answer = (str(row.get(name) or "").strip() for name in ("question", "answer"))
    if not question or not answer or " ".join(answer.split()) not in " ".join(chunk.text.split()):
        return None
    check = "Is it clear without the document? Is the answer right, complete and short?"
    return {"question": question, "answers": [answer], "check": check}


def _load_model(name: str | None) -> BaseChatModel | None:
    from backend.environment import read_environment
    from chains.errors import UnknownModel
    from chains.models import load_chat_model

    environment = read_environment()
    try:
        return load_chat_model(name or environment.chat_model, environment.chat_model_timeout)
    except UnknownModel as error:
        raise CannotDraft(str(error)) from error


def _name(place: str, question: str) -> str:
    return f"{Path(place).stem}-{hashlib.sha256(question.encode()).hexdigest()[:8]}"


def _question(line: str) -> str:
    try:
        return str(json.loads(line)["question"])
    except (ValueError, KeyError, TypeError):
        return ""
