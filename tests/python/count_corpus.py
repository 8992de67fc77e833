"""How often each kind of mistake is in the documents that clean_files made of PubMed files, counted against the files' own XML.

usage: count_corpus.py CLEANED FILE...    CLEANED the folder that clean_files filled; FILE... what it was given

One line a kind: how often the files give the occasion, and how often it went wrong.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pubmed_rules as rules

OCCASION, WRONG = Counter(), Counter()
NUMBER = re.compile("[-+\u2212\u2013]?[0-9]+")
SHOWN = [
    ("notice", "copyright notices at the end of a section: still there"),
    ("end", "sections: their last words are missing"),
    ("power", "powers of numbers (10<sup>6</sup>): run together"),
    ("unit", "numbers above letters (m<sup>2</sup>): run together"),
    ("digits", "other scripts that begin with a digit behind a digit: run together"),
    ("formula", "formulas with a fraction, root, power or index: flattened"),
    ("label", "sections that are a label alone: lost"),
    ("other", "records whose only abstract is an OtherAbstract: lost"),
    ("placeholder", "records whose abstract says nothing: kept"),
    ("standing", "retracted, withdrawn or republished records: kept"),
    ("version", "PMIDs in several versions: not the highest"),
    ("note", "titles with a note of NLM's: still there"),
    ("brackets", "titles in brackets: still there"),
    ("truncated", "marks of truncation: still there"),
    ("hidden", "documents with characters that nobody sees"),
]


def note(kind: str, wrong: bool) -> None:
    OCCASION[kind] += 1
    WRONG[kind] += bool(wrong)


def letters(text: str) -> str:
    return "".join(c for c in text if c.isalpha())


def noted(title: str) -> bool:
    """Within a translation's brackets or behind them."""
    return any(rules.NOTE.search(form) for form in (title, re.sub(r"\][. ]*$", "", title)))


def scripts(element, text: str) -> None:
    """Superscripts and subscripts of a title or a section, and whether the document's text keeps them apart."""
    for tag, before, content in walk(element):
        if not content or not before:
            continue
        sign, last, number = ("^" if tag == "sup" else "_"), before[-1], NUMBER.fullmatch(content)
        written = any(f"{last}{sign}{form}" in text for form in (content, f"({content})"))
        if tag == "sup" and number and last.isdigit():
            note("power", not written)
        elif tag == "sup" and number and last.isalpha() and last not in "\u03b4\u0394":
            note("unit", not written)
        elif content[0].isdigit() and last.isdigit():
            note("digits", not any(f"{last}{s}{form}" in text for s in "^_" for form in (content, f"({content}")))


def walk(element):
    """(tag, the text before it, its content) of each script that no other script continues."""
    found, out = [], []

    def visit(node):
        children = list(node)
        for child, behind in zip(children, [*children[1:], None]):
            continued = behind is not None and behind.tag == child.tag and not child.tail
            if child.tag in ("sup", "sub") and not continued:
                found.append((child.tag, "".join(out), "".join(child.itertext()).strip()))
            if child.tag != rules.MATH + "math":
                out.append(child.text or "")
                visit(child)
            out.append(child.tail or "")

    out.append(element.text or "")
    visit(element)
    return found


def formulas(element, text: str) -> None:
    for formula in element.iter(rules.MATH + "math"):
        if any(formula.find(f".//{rules.MATH}{name}") is not None for name in ("mfrac", "msqrt", "msup", "msub", "msubsup")):
            note("formula", re.sub(r"\s+", " ", rules.math(formula)).strip() not in text)


def record(found, element, newest: int, documents: dict) -> None:
    document = documents.get(found.pmid)
    text = document["text"] if document else ""
    if found.version != newest:
        return
    if found.gone:
        note("standing", document)
        return
    own = rules.abstract(found.sections)
    if own is None and any(rules.abstract(other[2]) for other in found.others):
        note("other", not document)
    elif own is None and any(words for _, words in found.sections):
        note("placeholder", document)
    if not document or own is None:
        return
    first, *lines = text.split("\n")
    for label, words in found.sections:
        if label and not words:
            note("label", label not in lines)
        if rules.NOTICES.search(words):
            note("notice", any(line and words.endswith(line[-40:]) for line in lines))
        if rules.TRUNCATED.search(words):
            note("truncated", "(ABSTRACT TRUNCATED" in text)
        if body := letters(rules.body(words))[-40:]:
            note("end", body not in letters(text))
    if noted(found.title):
        note("note", noted(first))
    if re.fullmatch(r"\[.*\]\.?", found.title):
        note("brackets", first.startswith("[") and rules.title(found) != first)
    note("hidden", any(ord(c) in rules.HIDDEN or 0x80 <= ord(c) < 0xA0 for c in text))
    for part in [element.find(".//ArticleTitle"), *element.findall(".//Abstract/AbstractText")]:
        if part is not None:
            scripts(part, text)
            formulas(part, text)


def main() -> None:
    folder, files = Path(sys.argv[1]), sys.argv[2:]
    lines = [line for path in sorted((folder / "merged").glob("train-*.jsonl")) for line in path.read_text().splitlines()]
    documents = {document["id"]: document for document in map(json.loads, lines)}
    versions = {}
    for path in files:
        for found in rules.read(path):
            if not found.deleted:
                versions.setdefault(found.pmid, []).append(found.version)
    for pmid, all_versions in versions.items():
        if len(all_versions) > 1 and pmid in documents:
            note("version", documents[pmid]["version"] != max(all_versions))
    for path in files:
        for found, element in (pair for pair in rules.elements(path) if pair[1] is not None):
            record(found, element, max(versions[found.pmid]), documents)
    print(f"{len(documents)} documents")
    for kind, sentence in SHOWN:
        print(f"{OCCASION[kind]:6} {WRONG[kind]:6} {sentence}")


if __name__ == "__main__":
    main()
