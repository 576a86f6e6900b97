"""How common a word is in everyday English: what words are matched on, since rare words surprise every model.

Knows a word's text; knows no model. Counts are those of the wordfreq package (Robyn Speer, version 3), from subtitles,
encyclopaedias, news, books and the web up to 2021.
"""

import math
from functools import lru_cache

_ZIPF_ONE = 9.0  # Zipf scale: log10 of occurrences per 10⁹ words
RAREST = math.log(1e-9)
"""What a word has that is in no list."""


@lru_cache(maxsize=100_000)
def log_frequency(text: str) -> float:
    """Natural logarithm of a word's relative frequency; of several words, that of their harmonic combination.

    Args:
        text: a word as it stands in a text; upper and lower case count alike.

    Returns:
        At least `RAREST`.
    """
    from wordfreq import zipf_frequency

    return max(RAREST, (float(zipf_frequency(text, "en")) - _ZIPF_ONE) * math.log(10))
