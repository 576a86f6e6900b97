"""Words of a text in the one form under which a dictionary holds them: lower case, singular, without accents.

English only, by rules of spelling that are right for the words of medicine and harmless where they are wrong, since
text and dictionary go through the same rules. Knows no dictionary and no medicine.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# A letter or digit with the accents that may follow it as characters of their own; a possessive belongs to its word.
WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+(?:['’][A-Za-z]+)?")
_POSSESSIVE = re.compile(r"['’]s$", re.IGNORECASE)
_SINGULAR_AS_THEY_ARE = {
    "abs", "aids", "always", "ascites", "atlas", "biceps", "caries", "deferens", "diabetes", "dissecans", "does",
    "dos", "faeces", "feces", "forceps", "fungoides", "gas", "graves", "has", "herpes", "his", "hives", "hydrops",
    "lens", "measles", "menses", "mumps", "news", "nigricans", "pancreas", "perhaps", "plus", "psoas", "rabies",
    "rickets", "scabies", "series", "shingles", "species", "this", "triceps", "was", "whereas", "wilms", "yaws", "yes",
}  # fmt: skip
_IRREGULAR = {
    "feet": "foot", "teeth": "tooth", "women": "woman", "men": "man", "children": "child", "lice": "louse",
    "mice": "mouse", "bacteria": "bacterium", "foci": "focus", "nuclei": "nucleus", "thrombi": "thrombus",
    "emboli": "embolus", "bronchi": "bronchus", "diverticula": "diverticulum", "ova": "ovum", "lenses": "lens",
    "testes": "testis", "irises": "iris", "calves": "calf", "halves": "half", "lives": "life", "knives": "knife",
    "phalanges": "phalanx", "meninges": "meninx", "cortices": "cortex", "indices": "index", "apices": "apex",
    "varices": "varix", "ganglia": "ganglion", "polypi": "polyp", "criteria": "criterion", "septa": "septum",
    "doses": "dose", "noses": "nose", "roses": "rose", "causes": "cause", "uses": "use", "pauses": "pause",
    "houses": "house", "fuses": "fuse", "hoses": "hose", "loses": "lose", "poses": "pose", "purposes": "purpose",
    "exposes": "expose", "abuses": "abuse", "axes": "axis", "bruises": "bruise", "glucoses": "glucose",
}  # fmt: skip
_ENDINGS = (  # the first that fits: what to cut off, what to put in its place
    (re.compile(r"..(?:ss|us|is)$"), 0, ""),
    (re.compile(r"...ies$"), 3, "y"),
    (re.compile(r"..(?:oses|yses|stases|xeses|neses|reses)$"), 2, "is"),
    (re.compile(r"..(?:uses|sses|shes|xes|zzes|[^a]ches)$"), 2, ""),
    (re.compile(r"...ae$"), 1, ""),
    (re.compile(r"..s$"), 1, ""),
)


@dataclass(frozen=True)
class Word:
    """A word where it stands.

    Attributes:
        start, end: its characters in the text.
        exact: as written, without a possessive.
        form: lower case, singular, without accents.
    """

    start: int
    end: int
    exact: str
    form: str


def words(text: str) -> list[Word]:
    """The words of a text in order; hyphens and slashes part words, apostrophes do not."""
    found = []
    for match in WORD.finditer(text):
        exact = _POSSESSIVE.sub("", match.group())
        found.append(Word(match.start(), match.start() + len(exact), exact, word_form(exact)))
    return found


@lru_cache(maxsize=100_000)
def word_form(word: str) -> str:
    """A word in lower case, singular, without accents."""
    lower = word.lower()
    if not lower.isascii():
        lower = "".join(c for c in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(c))
    return singular(lower)


def singular(word: str) -> str:
    """The singular of a lower-case English noun, as far as spelling tells."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or word in _SINGULAR_AS_THEY_ARE or word[-1] not in "se":
        return word
    for ending, cut, added in _ENDINGS:
        if ending.search(word):
            return word[: len(word) - cut] + added
    return word


def american(form: str) -> str:
    """A word form in American spelling: haemoglobin, oedema, tumour, fibre, catheterisation."""
    for british, other in (("ae", "e"), ("oe", "e"), ("isation", "ization"), ("ysed", "yzed")):
        form = form.replace(british, other)
    return re.sub(r"(?<=[mlvb])our$", "or", re.sub(r"(?<=[bt])re$", "er", form))
