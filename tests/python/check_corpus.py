"""What cleaning makes of PubMed files: the same documents, letter by letter, as the second implementation (pubmed_rules.py) makes of them.

usage: check_corpus.py CLEAN_FILES                     a small invented file, with what each record must become
       check_corpus.py CLEAN_FILES FILE...             real files
CLEAN_FILES is the example of osler-corpus of that name.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pubmed_rules

WORDS = "Invented words about nothing."


def article(pmid, body=WORDS, title="A title.", version=1, extra="", types="", links="", language="eng"):
    body = body if body.startswith("<") or not body else f"<AbstractText>{body}</AbstractText>"
    return (
        f'<PubmedArticle><MedlineCitation><PMID Version="{version}">{pmid}</PMID><Article><ArticleTitle>{title}</ArticleTitle>'
        f"{f'<Abstract>{body}</Abstract>' if body else ''}<Language>{language}</Language><PublicationTypeList><PublicationType>Journal Article"
        f"</PublicationType>{types}</PublicationTypeList></Article>{extra}<CommentsCorrectionsList>"
        f"{f'<CommentsCorrections RefType={chr(34)}{links}{chr(34)}><PMID>1</PMID></CommentsCorrections>' if links else ''}"
        "</CommentsCorrectionsList></MedlineCitation></PubmedArticle>"
    )


def other(kind, words, language="eng"):
    return f'<OtherAbstract Type="{kind}" Language="{language}"><AbstractText>{words}</AbstractText></OtherAbstract>'


FORMULA = (
    '<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mfrac><mml:mrow><mml:mi>a</mml:mi><mml:mo>+</mml:mo><mml:mi>b</mml:mi></mml:mrow>'
    "<mml:msup><mml:mi>c</mml:mi><mml:mn>2</mml:mn></mml:msup></mml:mfrac></mml:math>"
)
RETRACTED = "<PublicationType>Retracted Publication</PublicationType>"
LABELLED = '<AbstractText Label="RESULTS">We slept 7.</AbstractText><AbstractText Label="LEVEL OF EVIDENCE: 4"/>'
ANSWERS = '<AbstractText Label="FUNDING">None.</AbstractText><AbstractText>We slept 24.</AbstractText>'
THREE = other("Publisher", "Zehn.", "ger") + other("plain-language-summary", "Plain 10.") + other("AIDS", "Ten.")
POWERS = "We gave 10<sup>6</sup> cells, 5 \u00d7 10<sup>-3</sup> mol, SO<sub>4</sub><sup>2-</sup> and Ca<sup>2+</sup>."
SCRIPTS = "The <sup>13</sup>C of H<sub>2</sub>O in lines 6<sub>1</sub>, I<sup>2 </sup>high, NO<sub>3</sub><sup>-</sup>-N."
LIST = "Factors: (a) age 1; (b) smoke 1; (c) admission in 2020 (OR 4.7); and (d) living."
# What a person wants of each: the record, and its text or the rule that removes it.
INVENTED = [
    (article(1, LIST), f"A title.\n{LIST}"),
    (article(2, "We slept 2. (PsycInfo Database Record (c) 2021 APA, all rights reserved)."), "A title.\nWe slept 2."),
    (article(3, "We slept 3. This article is protected by copyright. All rights reserved."), "A title.\nWe slept 3."),
    (article(4, POWERS), "A title.\nWe gave 10^6 cells, 5 \u00d7 10^-3 mol, SO4^2- and Ca2+."),
    (article(5, SCRIPTS), "A title.\nThe 13C of H2O in lines 6_1, I^2 high, NO3^(-)-N."),
    (article(6, f"Of {FORMULA} it is."), "A title.\nOf (a+b)/(c^2) it is."),
    (article(7, LABELLED), "A title.\nRESULTS: We slept 7.\nLEVEL OF EVIDENCE: 4"),
    (article(8, "", extra=other("PIP", "Another body wrote 8.")), "A title.\nAnother body wrote 8."),
    (article(9, "Our own 9.", extra=other("PIP", "Another body wrote 9.")), "A title.\nOur own 9."),
    (article(10, "Not available.", extra=THREE), "A title.\nTen."),
    (article(11, "We slept 11.", title="[A knee (author's transl)]."), "A knee\nWe slept 11."),
    (article(12, "We slept 12.", title="[Uptake of [3H] water] [In Process Citation]."), "Uptake of [3H] water\nWe slept 12."),
    (article(13, "Second 13.", version=2), "A title.\nSecond 13."),
    (article(13, "First 13.", version=1), "superseded"),
    (article(14, "We slept 14.", title="WITHDRAWN: A title."), "withdrawn"),
    (article(15, "We slept 15.", title="Retracted: A title."), "retracted"),
    (article(16, "We slept 16.", links="RetractedandRepublishedIn"), "republished"),
    (article(17, "We slept 17.", links="RetractedandRepublishedFrom"), "A title.\nWe slept 17."),
    (article(18, "We slept 18.", links="ExpressionOfConcernIn"), "A title.\nWe slept 18."),
    (article(19, "We slept 19.", types=RETRACTED), "retracted"),
    (article(20, "[This corrects the article DOI: 10.0/invented.]."), "no-abstract"),
    (article(21, "We slept 21.(ABSTRACT TRUNCATED AT 250 WORDS)"), "A title.\nWe slept 21."),
    (article(22, "A bio&#xAD;psy\u200b of 22."), "A title.\nA biopsy of 22."),
    (article(23, "<AbstractText>N/A.</AbstractText>"), "no-abstract"),
    (article(24, ANSWERS), "A title.\nFUNDING: None.\nWe slept 24."),
    (article(25, "We slept 25."), "deleted"),
]


def cleaned(program: str, files: list, folder: Path):
    subprocess.run([program, str(folder), *files], check=True, stdout=subprocess.DEVNULL)
    return left(folder)


def left(folder: Path):
    """What clean_files left: documents by PMID, and what was removed by which rule."""
    lines = lambda paths: [json.loads(line) for path in sorted(paths) for line in path.read_text().splitlines()]
    documents = {d["id"]: d["text"] for d in lines((folder / "merged").glob("train-*.jsonl"))}
    removed = sorted((r["id"], r["rule"]) for r in lines(folder.glob("*/removed.jsonl")))
    return documents, removed


def compare(ours, theirs) -> int:
    """How many documents and removals differ; the first ones are shown from before where they part."""
    (documents, removed), (expected, gone) = ours, theirs
    wrong = [pmid for pmid in documents.keys() | expected.keys() if documents.get(pmid) != expected.get(pmid)]
    for pmid in wrong[:10]:
        found, wanted = documents.get(pmid, "nothing"), expected.get(pmid, "nothing")
        place = max(0, next((n for n, (a, b) in enumerate(zip(found, wanted)) if a != b), 0) - 40)
        print(f"PMID {pmid}: ours   {found[place:place + 120]!r}")
        print(f"PMID {pmid}: wanted {wanted[place:place + 120]!r}")
    rules = sorted(set(removed) ^ set(gone))
    print(f"{len(documents)} documents, {len(removed)} removed; {len(wrong)} documents and {len(rules)} removals differ", *rules[:10])
    return len(wrong) + len(rules)


def invented(program: str, folder: Path) -> int:
    source = folder / "invented.xml"
    records = "".join(record for record, _ in INVENTED)
    deletions = '<DeleteCitation><PMID Version="1">25</PMID></DeleteCitation>'
    source.write_text(f'<?xml version="1.0" encoding="utf-8"?><PubmedArticleSet>{records}{deletions}</PubmedArticleSet>')
    pmid = lambda record: re.search(r'Version="\d">(\d+)<', record)[1]
    kept = {pmid(record): outcome for record, outcome in INVENTED if "\n" in outcome}
    removed = sorted((pmid(record), outcome) for record, outcome in INVENTED if "\n" not in outcome)
    ours = cleaned(program, [str(source)], folder / "out")
    return compare(ours, (kept, removed)) + compare(ours, pubmed_rules.corpus([str(source)]))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        program, *files = sys.argv[1:]
        if not files:
            return invented(program, Path(folder))
        return compare(cleaned(program, files, Path(folder)), pubmed_rules.corpus(files))


if __name__ == "__main__":
    sys.exit(min(main(), 100))
