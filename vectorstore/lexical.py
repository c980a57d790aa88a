"""The word index: stemmed English words in tantivy, on disk beside Chroma. A passage's rank is half BM25, half which of
the question's words it holds.

Derived from the database like the vectors, and rebuilt from it when it is damaged. A question is a bag of words: no
character of it is an operator, and none can make a query fail.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from vectorstore.errors import IndexDamaged
from vectorstore.store import Hit, best_first

WRITER_BYTES = 30_000_000  # tantivy refuses less than 15 MB for a thread
MADE = "meta.json"  # tantivy's file that names what the index is made of
MOST_TERMS = 64  # distinct words of a question that are looked up
LONGEST_WORD = 40  # tantivy's own analyzers drop longer ones
TITLE_BOOST = 0.5  # of a word in title or headings beside the same word in the text
SATURATION = 2.2  # k1 + 1 of BM25 with k1 = 1.2, tantivy's: the most that one word's frequency can multiply
HELD = 0.5  # weight of a word being there at all, however long the passage; BM25 has the rest (docs/adr/0005)

# A word: letters and digits; each Han, Hiragana, Katakana or Hangul character is a word of its own, because those
# scripts have no blanks to cut at.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]|(?:(?![぀-ヿ㐀-鿿豈-﫿가-힯])[^\W_])+")


@dataclass(frozen=True, slots=True)
class LexicalEntry:
    """What is indexed of a chunk."""

    id: str
    source_id: str
    title: str
    text: str


class LexicalIndex:
    """Safe to use from many threads; one process writes."""

    def __init__(self, index: Any, followed: Path | None = None) -> None:
        self._index = index
        self._writer: Any = None
        self._writing = threading.Lock()
        self._followed = followed
        self._seen = 0

    @classmethod
    def open(cls, path: Path, *, reader: bool = False) -> LexicalIndex:
        """Open or make the index in this folder; IndexDamaged when what is there cannot be read.

        reader: another process writes it; what that has committed is found from then on.
        """
        import tantivy

        if reader and not (path / MADE).exists():
            raise IndexDamaged("There is no word index yet.")
        path.mkdir(parents=True, exist_ok=True)
        # Whoever opens it owns DATA_DIR, so a writer's lock that is left here belongs to a process that was killed.
        if not reader:
            (path / ".tantivy-writer.lock").unlink(missing_ok=True)
        try:
            index = tantivy.Index(_schema(), str(path))
            index.register_tokenizer("words", _analyzer())
            index.config_reader("manual")
            opened = cls(index, path / MADE if reader else None)
            opened.count()
        except (ValueError, OSError) as error:
            raise IndexDamaged(f"The word index cannot be opened: {error}") from error
        return opened

    def add(self, entries: Iterable[LexicalEntry]) -> None:
        """Index entries, each replacing the one of its id; found after `commit`."""
        import tantivy

        with self._writing:
            writer = self._open_writer()
            for entry in entries:
                writer.delete_documents_by_term("id", entry.id)
                document = tantivy.Document()
                document.add_text("id", entry.id)
                document.add_text("source_id", entry.source_id)
                document.add_text("title", " ".join(words(entry.title)))
                document.add_text("text", " ".join(words(entry.text)))
                writer.add_document(document)

    def delete(self, ids: Sequence[str]) -> None:
        """Forget these ids, after `commit`."""
        if ids:
            with self._writing:
                writer = self._open_writer()
                for chunk_id in ids:
                    writer.delete_documents_by_term("id", chunk_id)

    def clear(self) -> None:
        """Forget everything, after `commit`."""
        with self._writing:
            self._open_writer().delete_all_documents()

    def commit(self) -> None:
        """Make what was added and deleted durable and visible."""
        with self._writing:
            if self._writer is not None:
                self._writer.commit()
                self._index.reload()

    def ids(self, source_id: str | None = None) -> set[str]:
        """Every id that is really there, of one source or of all."""
        import tantivy

        query = (
            tantivy.Query.all_query()
            if source_id is None
            else tantivy.Query.term_query(self._index.schema, "source_id", source_id)
        )
        searcher = self._searcher()
        if searcher.num_docs == 0:
            return set()
        hits = searcher.search(query, searcher.num_docs, count=False).hits
        return {searcher.doc(address)["id"][0] for _, address in hits}

    def ids_among(self, source_ids: Sequence[str], most: int) -> list[str]:
        """Ids of the chunks of these sources; any `most` of them where there are more."""
        searcher = self._searcher()
        hits = searcher.search(self._of("source_id", source_ids), most, count=False).hits
        return sorted(searcher.doc(address)["id"][0] for _, address in hits)

    def query(self, text: str, k: int, source_ids: Sequence[str] | None = None) -> list[Hit]:
        """The `k` best chunks, best first, ties by id; `source_ids` limits where to look.

        A score is the share, in [0, 1], of what a chunk could reach at the most for this question: every word, as often
        as one likes.
        """
        if source_ids is not None and not source_ids:
            return []
        return self._search(text, k, None if source_ids is None else self._of("source_id", source_ids))

    def compare(self, text: str, ids: Sequence[str]) -> list[Hit]:
        """Those of these chunks that hold any of the words, with the same scores as `query` gives."""
        return self._search(text, len(ids), self._of("id", ids))

    def _search(self, text: str, k: int, among: Any) -> list[Hit]:
        import tantivy

        terms = self.terms(text)
        if k <= 0 or not terms:
            return []
        schema, should, must = self._index.schema, tantivy.Occur.Should, tantivy.Occur.Must
        rarity = self.idf(terms)
        most = SATURATION * sum(rarity)
        either = []
        for term, idf in zip(terms, rarity, strict=True):
            word = tantivy.Query.term_query(schema, "text", term, "freq")
            title = tantivy.Query.term_query(schema, "title", term, "freq")
            either += [
                (should, tantivy.Query.boost_query(word, (1 - HELD) / most)),
                (should, tantivy.Query.boost_query(title, (1 - HELD) / most * TITLE_BOOST)),
                (should, tantivy.Query.const_score_query(word, HELD * SATURATION * idf / most)),
            ]
        query = tantivy.Query.boolean_query(either)
        if among is not None:
            query = tantivy.Query.boolean_query([(must, query), (must, among)])
        searcher = self._searcher()
        hits = searcher.search(query, k, count=False).hits
        found = [Hit(searcher.doc(address)["id"][0], min(1.0, float(score))) for score, address in hits]
        return sorted(found, key=best_first)

    def terms(self, text: str) -> list[str]:
        """The distinct stemmed words of a text in order of appearance, as they stand in the index; at most 64."""
        stemmed = (stem(word) for word in words(text) if word not in STOPWORDS)
        return list(dict.fromkeys(term for term in stemmed if term))[:MOST_TERMS]

    def counts(self, words: Sequence[str]) -> list[int]:
        """In how many chunks each of these lower-case words stands, in whatever form."""
        searcher, analyzer = self._searcher(), _analyzer()
        return [max((searcher.doc_freq("text", stem) for stem in analyzer.analyze(word)), default=0) for word in words]

    def idf(self, terms: Sequence[str]) -> list[float]:
        """BM25's inverse document frequency of stemmed words: ln(1 + (N - n + 0.5) / (n + 0.5))."""
        searcher = self._searcher()
        total = searcher.num_docs
        counts = [searcher.doc_freq("text", term) for term in terms]
        return [math.log(1 + (total - min(n, total) + 0.5) / (min(n, total) + 0.5)) for n in counts]

    def count(self) -> int:
        """How many chunks are indexed."""
        return int(self._searcher().num_docs)

    def close(self) -> None:
        """Give the writer's lock up; what was not committed is lost."""
        with self._writing:
            if self._writer is not None:
                self._writer.rollback()
                self._writer.wait_merging_threads()
                self._writer = None

    def _of(self, field: str, values: Sequence[str]) -> Any:
        import tantivy

        among = tantivy.Query.term_set_query(self._index.schema, field, list(values))
        return tantivy.Query.const_score_query(among, 0.0)

    def _searcher(self) -> Any:
        if self._followed is not None:
            with contextlib.suppress(FileNotFoundError):  # the owner makes it anew; what was read goes on answering
                written = self._followed.stat().st_mtime_ns
                if written != self._seen:
                    self._index.reload()
                    self._seen = written
        return self._index.searcher()

    def _open_writer(self) -> Any:
        if self._writer is None:
            self._writer = self._index.writer(WRITER_BYTES, 1)
        return self._writer


def words(text: str) -> list[str]:
    """Lower-case words of a text, accents folded."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    return [word for word in _WORD.findall(unicodedata.normalize("NFC", plain)) if len(word) <= LONGEST_WORD]


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The word as the index holds it."""
    stems = _analyzer().analyze(word)
    return stems[0] if stems else ""


@cache
def _analyzer() -> Any:
    import tantivy

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace())
    return builder.filter(tantivy.Filter.stemmer("english")).build()


@cache
def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("source_id", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("title", stored=False, tokenizer_name="words", index_option="freq")
    builder.add_text_field("text", stored=False, tokenizer_name="words", index_option="freq")
    return builder.build()


# Words that say nothing about what a question is about.
STOPWORDS = frozenset(
    "a about an and any are as at be been being but by can could did do does for from had has have having how i if in "
    "into is it its me my no not of on or our s she should so such t than that the their them then there these they "
    "this those to too us was we were what when where which while who whom whose why will with would you your".split()
)
