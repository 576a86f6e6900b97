"""A study's report as a document: the four questions with their verdicts, cards, figures, methods, provenance.

Knows results and findings; computes nothing.
"""

from collections.abc import Mapping, Sequence

from core.present.document import Block, Cards, Document, Items, Picture, Section, Table, Text
from core.present.figures import Figure
from core.present.study_cards import Question, cards_of, questions_of
from core.present.study_figures import QUESTION_OF
from core.present.study_source import provenance_of_study
from core.present.study_text_parts import corpora_section, footer, limits_section, methods_section, provenance_section
from core.present.texts import two_digits
from core.study.results import Results
from core.study.runner import facts_from
from core.study.verdicts import Finding

WORDS_SHOWN = 40


def study_document(
    results: Results, found: Sequence[Finding], figures: Mapping[str, Figure], typed: Sequence[str]
) -> Document:
    """The report of one study.

    Args:
        results: of the study.
        found: its findings.
        figures: as `figures_of` gives them.
        typed: what was typed after `python -m core`.
    """
    questions = questions_of(cards_of(found, figures))
    source = provenance_of_study(results)
    corpora = " and ".join(
        f"{results.n_usable(one['name']):,} prompts of {one['name']}" for one in results.record["corpora"]
    )
    return Document(
        title=f"What fine-tuning changed: {source.pair}",
        subtitle=f"{source.tuned_id} against {source.base_id}, on {corpora}",
        notice=unfinished(results),
        sections=(
            headline_section(questions),
            *(_question_section(question, figures) for question in questions),
            methods_section(found),
            corpora_section(results),
            limits_section(),
            provenance_section(results, typed),
        ),
        footer=footer(results),
    )


def unfinished(results: Results) -> str:
    """What to know before reading on: that prompts are missing, also from the tables, and warnings of the adapter."""
    record = results.record
    whole = results.n_measured == record["done"]
    said = []
    if not results.finished:
        said.append(
            f"This study is not finished: {record['done']:,} of {record['prompts']:,} prompts have been measured, and "
            f"{record.get('sets_done', 0):,} of {record.get('sets_of', 0):,} visits for sets of layers made."
        )
        said += ["Figures and verdicts are of what there is."] if whole else []
    if not whole:
        said.append(
            f"The tables, and so figures and verdicts, are of {results.n_measured:,} prompts; resuming the study, or "
            "writing its tables again, brings the rest."
        )
    return " ".join([*said, *facts_from(record).warnings])


def headline_section(questions: Sequence[Question]) -> Section:
    """Questions with the verdicts of their primary claims."""
    rows = tuple(
        (
            f"{question.number} {question.question}" if k == 0 else "",
            card.claim,
            card.verdict,
            card.effect,
            card.interval or "–",
        )
        for question in questions
        for k, card in enumerate(question.primary)
    )
    silent = tuple(f"{one.number} {one.question} {one.headline}" for one in questions if not one.primary)
    blocks: list[Block] = [Table(("question", "claim", "verdict", "effect", "how sure"), rows)] if rows else []
    blocks += [Items(silent)] if silent else []
    return Section("headline", "In short", (*blocks, Text("What would change a verdict stands on the claim's card.")))


def _question_section(question: Question, figures: Mapping[str, Figure]) -> Section:
    blocks: list[Block] = [Text(question.headline)]
    if question.primary:
        blocks.append(Cards(question.primary))
    if question.others:
        blocks.append(Cards(question.others, folded="Further claims, corrected together"))
    for name, figure in figures.items():
        if QUESTION_OF.get(name) == question.number:
            blocks.append(Picture(name, figure))
            blocks += [_word_table(figure)] if name == "top-words" else []
    return Section(f"question-{question.number}", f"{question.number} {question.question}", tuple(blocks))


def _word_table(figure: Figure) -> Table:
    rows = tuple(
        (str(row["form"]), str(row["category"]), str(row["count"]), two_digits(row["mean_score"]))
        for row in figure.rows[:WORDS_SHOWN]
    )
    return Table(("word", "category", "times", "mean ΣKL, nats"), rows, numbers=(2, 3))
