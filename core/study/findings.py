"""The findings of a study, from its tables: four questions, each answered by claims that can turn out false.

Knows which claims there are; the tests are in the modules of claims, the rules of verdicts in core/study/verdicts.
"""

from collections.abc import Mapping

import pandas as pd

from core.study.claims_layers import carrying, moving
from core.study.claims_learning import learning
from core.study.claims_sets import holding
from core.study.claims_words import wording
from core.study.frames import Floors, Settings
from core.study.tables import checked_tables
from core.study.verdicts import Finding, settle

QUESTIONS = {
    "1": "Did it learn medicine, and did it forget?",
    "2": "Is the divergence on medical terms and in explanations?",
    "3": "Do higher layers carry it?",
    "4": "What moved inside?",
}
_CLAIMS = (learning, wording, carrying, holding, moving)


def findings(
    tables: Mapping[str, pd.DataFrame], floors: Floors, settings: Settings | None = None
) -> tuple[Finding, ...]:
    """Every claim the tables can speak to, with its verdict.

    Args:
        tables: by name, with the columns of core/study/tables; claims whose tables are missing or empty are left out.
        floors: of numerical noise.
        settings: of permutations and resamples.

    Raises:
        ArgumentError: there is no table of such a name.
        DataError: a table lacks a column, or is of the wrong form.
    """
    found, how = checked_tables(tables), settings or Settings()
    return settle([one for claims in _CLAIMS for one in claims(found, floors, how)])


__all__ = ["QUESTIONS", "Finding", "Floors", "Settings", "findings"]
