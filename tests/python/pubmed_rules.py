"""What docs/guide.md says of PubMed records, written a second time: from NLM's XML to the documents that the default rules keep.

Independent of our reader: xml.etree parses, and markup is resolved in a flat string with regular expressions. Copyright notices are not
judged by a rule but by a list of the shapes that a person found in the files (NOTICES).
"""

import gzip
import re
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

# Not in the files: where a superscript and a subscript begin and end.
SUP, SUP_END, SUB, SUB_END = "\U000f0001", "\U000f0002", "\U000f0003", "\U000f0004"
HIDDEN = dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF])
NOTICES = re.compile(
    r"\s*(\(PsycInfo Database Record \(c\) \d{4} APA, all rights reserved\)\.?"
    r"|This article is protected by copyright\.( All rights reserved\.)?"
    r"|\u00a9 (RSNA, )?20\d\d.{0,300})$"
)
TRUNCATED = re.compile(r"\s*\(ABSTRACT TRUNCATED[^()]*\)[. ]*$")
NOTHING = re.compile(
    r"\W*(n/?a|none|not (available|applicable)|no abstract( available| provided)?|abstract (not available|unavailable))\W*", re.I
)
NOTE = re.compile(
    r"\s*[(\[](author'?s?'? transl(ation)?|authors'? transl|transl|proceedings|in process citation|see comments|comment|letter)[)\]][. ]*$",
    re.I,
)
MATH = "{http://www.w3.org/1998/Math/MathML}"
S = "+\\-\u2212\u2013\u2010\u2011"  # signs, for a regular expression's class


@dataclass
class Record:
    pmid: str
    version: int
    deleted: bool = False
    title: str = ""
    vernacular: str = ""
    sections: list = field(default_factory=list)
    others: list = field(default_factory=list)
    gone: str = ""


def readable(text: str) -> str:
    text = (text or "").translate(HIDDEN)
    return re.sub("[\x80-\x9f]", lambda m: m[0].encode("latin-1").decode("cp1252", "ignore"), text)


def flat(element) -> str:
    parts = [readable(element.text)]
    for child in element:
        if child.tag in ("sup", "sub"):
            raw = readable("".join(child.itertext()))
            inner, (begin, end) = line(child), ((SUP, SUP_END) if child.tag == "sup" else (SUB, SUB_END))
            blank = [" " if side[:1].isspace() else "" for side in (raw, raw[::-1])]
            parts.append(blank[0] + (begin + inner + end if inner else "") + blank[1])
        elif child.tag == MATH + "math":
            parts.append(math(child))
        elif child.tag == "DispFormula":
            parts.append(" " + flat(child) + " ")
        else:
            parts.append(flat(child))
        parts.append(readable(child.tail))
    return "".join(parts)


def line(element) -> str:
    """The element's text on one line, scripts written out."""
    text = re.sub(r"\s+", " ", flat(element)).strip()
    text = text.replace(SUP_END + SUP, "").replace(SUB_END + SUB, "")
    text = re.sub(f"{SUP}([{S[1:]}]){SUP_END} {SUP}(?=\\d)", SUP + r"\1", text)
    out, *pieces = re.split(f"([{SUP}{SUB}])", text)
    rest, after_sup = list(zip(pieces[::2], pieces[1::2])), False
    for number, (kind, piece) in enumerate(rest):
        core, tail = piece.split(SUP_END if kind == SUP else SUB_END)
        before = out[-1:] if not out.endswith(" ") else ""
        follows = tail[:1]
        if not tail and number + 1 < len(rest):
            follows = "^" if kind == SUB else "_"
        out += superscript(before, core, follows) if kind == SUP else subscript(before, core, follows, after_sup)
        after_sup = kind == SUP and not tail
        out += tail
    return out


def bracketed(text: str) -> bool:
    depth = 0
    for place, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if depth == 0:
            return text[0] in "([" and place == len(text) - 1
    return False


def enclose(text: str) -> str:
    return text if bracketed(text) else f"({text})"


def word(text: str) -> bool:
    return bool(re.fullmatch(r"[^\W_]([^\W_]|\.)*", text)) and text[-1] != "."


def punctuation(core: str):
    end = core.rstrip(".,;:")
    return (end, core[len(end) :]) if end else (core, "")


def superscript(before: str, core: str, follows: str) -> str:
    core, end = punctuation(core)
    follows = end[:1] or follows
    core = re.sub(f"^([{S}]+) (\\d+)$", r"\1\2", core)
    alone = not follows.isalnum() and not (re.search(f"[{S[1:]}]$", core) and re.match(f"[{S}]", follows))
    if core in ("TM", "tm"):
        return "\u2122" + end
    if core in ("o", "\u00ba") and before.isdigit():
        return "\u00b0" + end
    joined = (
        core in ("st", "nd", "rd", "th") and (before.isdigit() or not before)
        or not re.search(f"[^\\W_]|[{S}]", core)
        or signs(core) and re.match(f"[^\\W\\d_]|\\d|[)\\]}}]|[{S}]", before) and alone
        or charge(core) and before.isalpha() and alone
        or re.fullmatch(r"\d[\d+,/]*m?", core) and (not before or before in "([{/-\u2013+\u00b7\u03b4\u0394") and follows.isalpha()
    )
    return core + end if joined else caret(core, follows) + end


def signs(core: str) -> bool:
    return bool(re.fullmatch(f"[{S}/()\u2022\u00b7\u2219\u25cf\u02d9\u22c5]+", core) and re.search(f"[{S}]", core))


def charge(core: str) -> bool:
    return bool(re.fullmatch(f"[0-9]+[{S}]+", core))


def caret(core: str, follows: str) -> str:
    simple = word(re.sub(f"^[{S}]", "", core)) or charge(core) or signs(core)
    goes_on = follows.isalnum() and not (core[-1:] in "0123456789" and follows.isalpha())
    minus = re.search(f"[{S[1:]}]$", core) and re.match(f"[{S}]", follows)
    return "^" + (core if simple and not goes_on and not minus else enclose(core))


def subscript(before: str, core: str, follows: str, after_sup: bool) -> str:
    core, end = punctuation(core)
    follows = end[:1] or follows
    if not re.search(r"[^\W_]", core):
        return core + end
    digit = re.compile("[0-9]").match
    clash = digit(before) and digit(core) or digit(core[-1]) and digit(follows)
    one = core[0].isalnum() and all(c.isalnum() or re.match(f"[{S}./:%'\u2032\u00b7\u221e]", c) for c in core)
    return (core if one and not clash and not after_sup else under(core, follows)) + end


def under(core: str, follows: str) -> str:
    return "_" + (core if word(core) and not follows.isalnum() else enclose(core))


def math(element) -> str:
    """What the files have of MathML. Each part is rendered, then joined with what stands behind it."""
    name, text = element.tag.removeprefix(MATH), readable(element.text).strip()
    parts = [math(child) for child in element]
    each = parts + [""] * 3
    base = each[0] if len(each[0]) < 2 or word(each[0]) or bracketed(each[0]) else f"({each[0]})"
    if name in ("mi", "mn", "mo"):
        return text
    if name in ("mtext", "ms"):
        return re.sub(r"\s+", " ", readable(element.text))
    if name == "mspace":
        return " "
    if name in ("annotation", "annotation-xml", "mphantom"):
        return ""
    if name == "msup":
        return base + math_sup(each[1])
    if name == "msub":
        return base + math_sub(base, each[1])
    if name in ("msubsup", "munderover"):
        return base + math_sub(base, each[1]) + math_sup(each[2])
    if name == "mfrac":
        top, bottom = (part if word(part) or bracketed(part) else f"({part})" for part in each[:2])
        return f"{top}/{bottom}"
    if name == "msqrt":
        inner = row(parts)
        return "\u221a" + (inner if word(inner) else f"({inner})")
    if name == "mfenced":
        return element.get("open", "(") + element.get("separators", ",")[:1].join(parts) + element.get("close", ")")
    if name == "mover" and each[1] in ACCENTS:
        return base + ACCENTS[each[1]]
    if name == "mover":
        return base + math_sup(each[1])
    if name == "munder":
        return base + ("\u0332" if each[1] in "\u00af\u203e_\u0332\u2015" else math_sub(base, each[1]))
    return row(parts)


BARS = {c: "\u0304" for c in "\u00af\u203e_-\u2013\u2014\u2015\u2212"}
ACCENTS = BARS | {"^": "\u0302", "~": "\u0303", ".": "\u0307", "\u02d9": "\u0307", "\u2192": "\u20d7"}


def row(parts: list) -> str:
    out = ""
    for part in parts:
        fraction = re.search(r"^[^\W_]+/[^\W_]+$", part) and re.search(r"[^\W_]$", out)
        letters = part.isalpha() and len(part) > 1 and re.search(r"[^\W\d_]$", out) and "^" not in out and "_" not in out
        out += " " * bool(letters) + (f"({part})" if fraction else part)
    return out


def math_sup(core: str) -> str:
    return core if not re.search(f"[^\\W_]|[{S}]", core) else caret(core, "")


def math_sub(base: str, core: str) -> str:
    return core if core.isdigit() and base[-1:].isalpha() else under(core, "")


def elements(path: str):
    """Each record of a file with its element, deletions without one."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        for _, element in ET.iterparse(file):
            if element.tag == "DeleteCitation":
                yield from ((Record(p.text, int(p.get("Version", 1)), deleted=True), None) for p in element)
            elif element.tag in ("PubmedArticle", "PubmedBookArticle"):
                yield record(element), element
                element.clear()


def read(path: str):
    """Every record of a file in its order, deletions among them."""
    return (found for found, _ in elements(path))


def record(element) -> Record:
    citation = element.find("MedlineCitation") if element.tag == "PubmedArticle" else element.find("BookDocument")
    article = citation.find("Article") if element.tag == "PubmedArticle" else citation
    text = lambda name: line(found) if (found := article.find(name)) is not None else ""
    pmid = citation.find("PMID")
    title = text("ArticleTitle") or (text("Book/BookTitle") if article is citation else "")
    types = {(t.text or "").lower() for t in article.iter("PublicationType")}
    links = {c.get("RefType") for c in citation.findall("CommentsCorrectionsList/CommentsCorrections")}
    head = re.match(r"[\[( ]*(\w+( article| publication| removal)?) ?[:\])]", title)
    said = head[1].lower() if head else ""
    gone = ""
    if "retracted publication" in types or "RetractionIn" in links or said in ("retracted", "retracted article", "retracted publication"):
        gone = "retracted"
    elif said in ("withdrawn", "withdrawn article", "temporary removal") or head and head[1] == "REMOVED":
        gone = "withdrawn"
    elif links & {"RetractedandRepublishedIn", "CorrectedandRepublishedIn"}:
        gone = "republished"
    sections = lambda parent: [(re.sub(r"\s+", " ", readable(s.get("Label"))).strip(), line(s)) for s in parent.findall("AbstractText")]
    own = [pair for found in article.findall("Abstract") for pair in sections(found)]
    others = [(o.get("Type"), o.get("Language") or "eng", sections(o)) for o in citation.findall("OtherAbstract")]
    return Record(pmid.text, int(pmid.get("Version", 1)), False, title, text("VernacularTitle"), own, others, gone)


def body(text: str) -> str:
    return TRUNCATED.sub("", NOTICES.sub("", TRUNCATED.sub("", text))).rstrip()


def abstract(sections: list) -> list | None:
    pairs = [(label, text, body(text)) for label, text in sections if label or text]
    pairs = [(label, text) for label, raw, text in pairs if bool(raw) == bool(text)]
    link = re.compile(r"\[(This (article )?(corrects|retracts)|This expression of concern).*\]\.?")
    if not any(text and not NOTHING.fullmatch(text) and not link.fullmatch(text) for _, text in pairs):
        return None
    named = [("" if label.upper() == "UNLABELLED" else label, text) for label, text in pairs]
    lines = [f"{label.rstrip(': ')}: {text}" if label and text else label or text for label, text in named]
    return [found for found in lines if found]


def title(found: Record) -> str:
    text, last = found.title.strip(), None
    while text != last:
        last = text
        inner = re.fullmatch(r"\[(.*)\]\.?", text)
        if inner and all(inner[1][:n].count("]") <= inner[1][:n].count("[") for n in range(len(inner[1]) + 1)):
            text = inner[1]
        text = NOTE.sub("", text.replace("\u2019s transl", "'s transl"))
    return found.vernacular if text.rstrip(". ").lower() in ("", "not available", "in process citation", "no title available") else text


def document(found: Record) -> str | None:
    """The text of a record, or None where it has no abstract in any language."""
    others = sorted(found.others, key=lambda other: (other[0] == "plain-language-summary", other[1] != "eng"))
    for sections in [found.sections, *(other[2] for other in others)]:
        if (lines := abstract(sections)) is not None:
            return "\n".join(filter(None, [title(found), *lines]))
    return None


def corpus(paths: list):
    """Documents by PMID, and what became of each other record: [(PMID, rule)]."""
    everything = [(place, found) for place, found in enumerate(r for path in paths for r in read(path))]
    newest = {}
    for place, found in everything:
        newest[found.pmid] = max(newest.get(found.pmid, (0, 0)), (found.version, place))
    kept, removed, seen = {}, [], set()
    for place, found in everything:
        if found.deleted:
            continue
        text = None if found.gone else document(found)
        rule = found.gone or ("no-abstract" if text is None else "")
        if not rule and newest[found.pmid] != (found.version, place):
            rule = "deleted" if everything[newest[found.pmid][1]][1].deleted else "superseded"
        if not rule:
            key = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text).lower()).strip()
            rule = "duplicate" if key in seen else ""
            seen.add(key)
        if rule:
            removed.append((found.pmid, rule))
        else:
            kept[found.pmid] = text
    return kept, sorted(removed)
