"""`.footnote.yml` beside files: titles, tags and language that the files themselves do not tell.

    tags: [hr]            # of every file in this folder and below
    language: en
    files:
      handbook.pdf:       # a file in this folder
        title: Staff handbook
        tags: [policy]

Tags add up on the way down, language is that of the nearest, a file's own entry comes last. What stands in a file
itself (front matter) gives way to what stands beside it, but for tags, which are joined.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

NAME = ".footnote.yml"
LONGEST = 100_000  # bytes
MOST_TAGS = 50
LONGEST_TAG = 100
LONGEST_TITLE = 300
LONGEST_LANGUAGE = 35  # of a BCP 47 tag, as RFC 5646 recommends room for


class BadSidecar(Exception):
    """It cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is told of a file. tags: sorted, each once. language: as it was written, for instance a BCP 47 tag."""

    title: str = ""
    tags: tuple[str, ...] = ()
    language: str = ""

    def over(self, above: Metadata) -> Metadata:
        """This, completed by what is told further up."""
        return Metadata(self.title, merged(above.tags, self.tags), self.language or above.language)

    @property
    def digest(self) -> str:
        """Short, and empty when nothing is told: for a recipe."""
        if self == Metadata():
            return ""
        return hashlib.sha256(json.dumps([self.title, self.tags, self.language]).encode()).hexdigest()[:12]


NOTHING = Metadata()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One `.footnote.yml`: of its whole folder, and of single files in it by name."""

    folder: Metadata
    files: Mapping[str, Metadata]


def read_sidecar(path: Path) -> Sidecar:
    """Read and check it. BadSidecar, OSError."""
    import yaml

    if path.stat().st_size > LONGEST:
        raise BadSidecar(f"it is over {LONGEST:,} bytes")
    try:
        # Not the quicker loader in C: it overflows the stack on deep nesting, and this is the server's own process.
        data = yaml.load(path.read_bytes(), yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise BadSidecar("it is not valid YAML" + (f": see line {mark.line + 1}" if mark else "")) from None
    if data is None:
        return Sidecar(Metadata(), {})
    if not isinstance(data, dict):
        raise BadSidecar("it must be a mapping with tags, language or files")
    if unknown := set(data) - {"tags", "language", "files"}:
        raise BadSidecar(f"unknown: {', '.join(sorted(map(str, unknown)))}; there are tags, language and files")
    files = data.get("files") or {}
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise BadSidecar("files must map names to a title, tags or language each")
    try:
        return Sidecar(metadata_from(data), {str(name): metadata_from(entry) for name, entry in files.items()})
    except ValueError as error:
        raise BadSidecar(str(error)) from None


def metadata_from(data: Mapping[Any, Any]) -> Metadata:
    """Title, tags and language of a mapping (front matter too); ValueError says what is wrong with one of them."""
    title, tags, language = data.get("title"), data.get("tags"), data.get("language", data.get("lang"))
    if isinstance(tags, str):
        tags = tags.split(",")
    if tags is not None and (not isinstance(tags, list) or any(isinstance(tag, dict | list) for tag in tags)):
        raise ValueError("tags must be a list of texts")
    names = [" ".join(str(tag).split()) for tag in tags or []]
    if len(names) > MOST_TAGS or any(len(name) > LONGEST_TAG for name in names):
        raise ValueError(f"at most {MOST_TAGS} tags of {LONGEST_TAG} characters")
    if any(isinstance(value, dict | list) for value in (title, language)):
        raise ValueError("title and language must be texts")
    return Metadata(
        " ".join(str(title or "").split())[:LONGEST_TITLE],
        merged((), tuple(names)),
        " ".join(str(language or "").split())[:LONGEST_LANGUAGE],
    )


def resolve(sidecars: Mapping[str, Sidecar], path: str) -> Metadata:
    """What the sidecars of the folders above tell of the file at `path`. sidecars: by folder, "" for the watched."""
    found = Metadata()
    parents = [str(parent) for parent in reversed(PurePosixPath(path).parents)]
    for parent in parents:
        if sidecar := sidecars.get("" if parent == "." else parent):
            found = sidecar.folder.over(found)
    nearest = sidecars.get(path.rpartition("/")[0])
    if nearest and (own := nearest.files.get(path.rpartition("/")[2])):
        found = own.over(found)
    return found


def joined(beside: Metadata, inside: Metadata) -> Metadata:
    """What stands beside a file with what stands in it."""
    return replace(beside, title=beside.title or inside.title).over(inside)


def merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({tag for tag in (*first, *second) if tag}))
