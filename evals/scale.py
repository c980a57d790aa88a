"""python -m evals.bench --scale 1000,10000,100000: how /search grows with the number of passages.

Files are written and indexed by the product's own sync, so that catalogue, word index and vector index are what a user
would have. Passages are sentences of the given folder, three to six of neighbouring ones put together anew: words and
meanings hang together, and no two passages are alike where the folder holds enough text. Only the embedding is stood in
for: a passage's vector is the mean of its sentences' real vectors with a little noise, because embedding 100,000
passages would take an hour. Questions are embedded by the real model.

Each size has an instance of its own, and is measured by a process that has done nothing else: through the view, with a
token, without the socket. Beside it a plain Chroma collection with Chroma's own settings, the same vectors and texts.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evals.instance import temporary_instance
from evals.memory import peak_mb
from vectorstore.embeddings import Embedder

if TYPE_CHECKING:
    from backend.knowledge.index import KnowledgeIndex

PASSAGES_PER_FILE = 25
NEIGHBOURS = 12  # sentences that a passage is put together from
SENTENCES = 8_000  # of the folder, at the most: their embedding takes a minute or two
NOISE = 0.25  # length of what is added to a vector of unit length
LONE, HALF, REST = "lone.md", "rest/half", "rest"  # one source; half of them; all but that one
TEXTS = ("*.md", "*.txt")
WRAPPED = re.compile(r"(?<=\S)\n(?=\w)")  # a line that goes on in the next
SENTENCE = re.compile(r"(?<![^\s*])[A-Z][^.!?\n<>|`#\[\]]{30,300}[.!?](?=\s|$)")

QUESTIONS = 300
FILTERED = 60  # questions asked with each filter
WARM_UP = 20
K = 8
RECALL_AT = 10
PLAIN_BATCH = 5_000
PARTS = ("embed the question", "Chroma", "vectors of the word hits", "words", "read the rows")


def compare_sizes(folder: Path, sizes: Sequence[int]) -> int:
    """Fill and measure one instance for each size, then print them side by side; 2 where there is too little text."""
    folder = folder.resolve()
    if not read_sentences(folder):
        print(f"{folder} holds no text file with {NEIGHBOURS} English sentences.", file=sys.stderr)
        return 2
    told = []
    for size in sizes:
        print(f"{size} passages ...", file=sys.stderr)
        told.append(_in_a_process("fill", str(size), str(folder)))
    _print_table(sizes, told)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The processes that compare_sizes starts; each prints what it measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m evals.scale")
    parser.add_argument("part", choices=["fill", "measure", "plain"])
    parser.add_argument("size", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    sentences = read_sentences(options.folder)
    if options.part == "fill":
        told = _fill(sentences, options.size, options.folder)
    else:
        told = {"measure": _measure, "plain": _measure_plainly}[options.part](make_questions(sentences))
    print(json.dumps(told))
    return 0


def read_sentences(folder: Path) -> list[list[str]]:
    """The sentences of each text below the folder, in order; of a large folder, some texts from all over it. A text too
    short to take a passage from is joined to the next.
    """
    files = sorted(path for pattern in TEXTS for path in folder.rglob(pattern))
    random.Random(0).shuffle(files)  # noqa: S311 (nothing secret)
    found: list[list[str]] = []
    sentences: list[str] = []
    for path in files:
        text = WRAPPED.sub(" ", path.read_text("utf-8", "replace"))
        sentences = sentences + SENTENCE.findall(text)
        if len(sentences) >= NEIGHBOURS:
            found.append(sentences)
            sentences = []
        if sum(map(len, found)) >= SENTENCES:
            break
    return found


def make_files(sentences: Sequence[Sequence[str]], passages: int) -> dict[str, bytes]:
    """Markdown files of that many passages, by path; the same for the same arguments."""
    chance = random.Random(0)  # noqa: S311
    lengths = [len(text) for text in sentences]
    count = -(-passages // PASSAGES_PER_FILE)
    files = {}
    for number in range(count):
        sections = []
        for section in range(min(PASSAGES_PER_FILE, passages - number * PASSAGES_PER_FILE)):
            [text] = chance.choices(sentences, lengths)
            start = chance.randrange(len(text) - NEIGHBOURS + 1)
            some = chance.sample(text[start : start + NEIGHBOURS], chance.randint(3, 6))
            sections.append(f"## {section + 1}. {' '.join(some[0].split()[:5])}\n\n" + "\n".join(some))
        path = LONE if number == 0 else f"{HALF if number % 2 else 'rest/other'}/{number:05}.md"
        files[path] = (f"# Part {number}\n\n" + "\n\n".join(sections) + "\n").encode()
    return files


def make_questions(sentences: Sequence[Sequence[str]]) -> list[str]:
    """Different questions, each a few words in a row from one sentence; fewer where there is little text."""
    chance = random.Random(1)  # noqa: S311
    found: dict[str, None] = {}
    for _ in range(20 * QUESTIONS):
        words = chance.choice(chance.choice(sentences)).rstrip(".!?").split()
        length = chance.randint(4, 12)
        start = chance.randrange(max(1, len(words) - length + 1))
        found[" ".join(words[start : start + length]) + "?"] = None
    return list(found)[: QUESTIONS + WARM_UP]


class SentenceMeans(Embedder):
    """Passages of known sentences, one a line, without the model: see above. Other texts are left to the model."""

    def __init__(self, model: Embedder, sentences: Sequence[str]) -> None:
        self.model = model
        self.fingerprint, self.dimensions = model.fingerprint, model.dimensions
        distinct = list(dict.fromkeys(sentences))
        self.known = dict(zip(distinct, model.embed_array(distinct), strict=True))

    def embed_array(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> np.ndarray:
        vectors = [self.known[line] for line in text.splitlines() if line in self.known]
        if not vectors:
            found: np.ndarray = self.model.embed_array([text])[0]
            return found
        noise = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dimensions)
        mean = _unit(np.mean(vectors, axis=0)) + NOISE * _unit(noise)
        return _unit(mean).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


def _fill(sentences: Sequence[Sequence[str]], size: int, folder: Path) -> dict[str, Any]:
    with temporary_instance({"DEBUG": ""}) as instance:
        instance.client()  # of an empty folder
        from backend.knowledge import services
        from backend.knowledge.index import close_index, get_index, switch_index

        model, vectors = get_index().embedder, get_index().vectors
        stand_in = SentenceMeans(model, [sentence for text in sentences for sentence in text])
        switch_index(stand_in, vectors.sibling(model.fingerprint, model.dimensions))
        instance.use(make_files(sentences, size))
        began = time.perf_counter()
        instance.client()
        seconds = time.perf_counter() - began
        services.end_idle_parser(0)
        close_index()
        # These processes find the instance by the environment, which is the instance's own until it is closed.
        measured = {"fill": seconds, **_in_a_process("measure", str(size), str(folder))}
        return {**measured, "plain": _in_a_process("plain", str(size), str(folder))}


def _measure(questions: Sequence[str]) -> dict[str, Any]:
    _set_up()
    from django.test import Client

    from backend.accounts import tokens
    from backend.accounts.models import User
    from backend.knowledge.index import close_index, get_index
    from backend.knowledge.models import Chunk

    token = tokens.issue(User.objects.get()).access_token
    client = Client(headers={"Authorization": f"Bearer {token}", "Host": "127.0.0.1"})

    def search(question: str, **filters: str) -> None:
        response = client.get("/search", {"q": question, "k": str(K), **filters})
        if response.status_code != 200 or not response.json()["results"]:
            raise SystemExit(f"/search answered {response.status_code}: {response.content[:200]!r}")

    began = time.perf_counter()
    search(questions[0])
    first = time.perf_counter() - began
    told = {
        "passages": Chunk.objects.count(),
        "first": first,
        "search": _quantiles(search, questions),
        "parts": _time_parts(get_index(), questions),
        "filtered": {
            path: _quantiles(functools.partial(search, source=path), questions[: FILTERED + WARM_UP])
            for path in (LONE, HALF, REST)
        },
        "peak_mb": peak_mb(),
        "recall": _recall(get_index(), questions),  # last, because it reads all vectors into memory
    }
    close_index()
    return told


def _time_parts(index: KnowledgeIndex, questions: Sequence[str]) -> dict[str, float]:
    """Milliseconds, at the median, of what a search is made of."""
    from backend.knowledge.selectors import read_chunks
    from vectorstore.retriever import DEPTH, READ_FACTOR

    spent: dict[str, list[float]] = {part: [] for part in PARTS}

    def timed(part: str, work: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        result = work(*arguments)
        spent[part].append(time.perf_counter() - began)
        return result

    for question in questions:
        vector = timed("embed the question", index.embedder.embed_array, [question])[0]
        near = timed("Chroma", index.vectors.query, vector, DEPTH)
        words = timed("words", index.lexical.query, question, DEPTH)
        further = [hit.id for hit in words if hit.id not in {other.id for other in near}]
        timed("vectors of the word hits", index.vectors.vectors, further)
        timed("read the rows", read_chunks, [hit.id for hit in near][: READ_FACTOR * K])
    return {part: float(np.median(times[WARM_UP:])) * 1000 for part, times in spent.items()}


def _recall(index: KnowledgeIndex, questions: Sequence[str]) -> float:
    """Share of the really nearest that the vector index finds."""
    ids = sorted(index.vectors.ids())
    stored = index.vectors.vectors(ids)
    matrix = np.stack([stored[chunk_id] for chunk_id in ids])
    found = 0
    for question in questions:
        vector = index.embedder.embed_array([question])[0]
        exact = np.argpartition(-(matrix @ vector), RECALL_AT)[:RECALL_AT]
        found += len({ids[i] for i in exact} & {hit.id for hit in index.vectors.query(vector, RECALL_AT)})
    return found / (RECALL_AT * len(questions))


def _measure_plainly(questions: Sequence[str]) -> dict[str, Any]:
    """The nearest by a collection of Chroma's own settings, as a plain script has it: vectors, texts, nothing else."""
    _set_up()
    from backend.knowledge.index import close_index, get_index
    from backend.knowledge.models import Chunk
    from evals.baseline import Baseline

    index = get_index()
    baseline = Baseline(index.embedder, Path(os.environ["DATA_DIR"]) / "plain")
    rows = list(Chunk.objects.order_by("id").values_list("id", "text"))
    for start in range(0, len(rows), PLAIN_BATCH):
        texts = dict(rows[start : start + PLAIN_BATCH])
        stored = index.vectors.vectors(list(texts))
        baseline.collection.add(
            ids=list(texts), documents=list(texts.values()), embeddings=np.stack([stored[one] for one in texts])
        )
    told = {"search": _quantiles(baseline.search, questions)}
    close_index()
    return told


def _set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "backend.settings"
    import django

    django.setup()


def _quantiles(work: Callable[[str], Any], questions: Sequence[str]) -> tuple[float, float]:
    """p50 and p95 in milliseconds; the first rounds warm up and are not counted."""
    spent = []
    for question in questions:
        began = time.perf_counter()
        work(question)
        spent.append(time.perf_counter() - began)
    p50, p95 = np.quantile(spent[WARM_UP:], [0.5, 0.95]) * 1000
    return float(p50), float(p95)


def _in_a_process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 (this module itself)
        [sys.executable, "-m", "evals.scale", *arguments],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _print_table(sizes: Sequence[int], told: Sequence[Mapping[str, Any]]) -> None:
    growth = "".join(f"{f'{b} / {a}':>16}" for a, b in itertools.pairwise(sizes))
    print(f"{'':<32}" + "".join(f"{one['passages']:>12}" for one in told) + growth)
    for name, values in _lines(told):
        ratios = "".join(f"{b / a if a else float('inf'):>16.2f}" for a, b in itertools.pairwise(values))
        print(f"{name:<32}" + "".join(f"{value:>12.3g}" for value in values) + ratios)


def _lines(told: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[float]]]:
    yield "/search, p50 ms", [one["search"][0] for one in told]
    yield "/search, p95 ms", [one["search"][1] for one in told]
    yield "plain Chroma script, p50 ms", [one["plain"]["search"][0] for one in told]
    yield "plain Chroma script, p95 ms", [one["plain"]["search"][1] for one in told]
    for part in PARTS:
        yield f"  {part}, p50 ms", [one["parts"][part] for one in told]
    for name, path in (("one source", LONE), ("half of them", HALF), ("all but one", REST)):
        yield f"/search in {name}, p50 ms", [one["filtered"][path][0] for one in told]
        yield f"/search in {name}, p95 ms", [one["filtered"][path][1] for one in told]
    yield f"recall@{RECALL_AT} of the vector index", [one["recall"] for one in told]
    yield "first search, s", [one["first"] for one in told]
    yield "peak memory, MB", [one["peak_mb"] for one in told]
    yield "filling, s", [one["fill"] for one in told]


if __name__ == "__main__":
    sys.exit(main())
