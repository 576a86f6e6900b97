"""Reasoning against reasoning, answer against answer; an open reasoning is never an answer."""

from core.present.answer_sections import NO_ANSWER, NO_REASONING, NOT_FINISHED, Section, Side, sections
from core.present.runs import LaneRun
from tests.present.lanes import lane
from tests.tokens import token


def text(side: Side) -> str:
    return "".join(stretch.text for stretch in side.stretches)


def thinking(name: str, thought: str, said: str | None) -> LaneRun:
    tokens = [token("## Thinking\n\n", "format"), token(thought, "reasoning")]
    if said is not None:
        tokens += [token("\n\n## Final Response\n\n", "format"), token(said, "answer"), token("<end>", "end")]
    return lane(name, tokens, reasoning=said is not None)


PLAIN = lane("base", [token("It is"), token(" asthma.")])


def test_without_reasoning_there_is_one_section_without_heading() -> None:
    (found,) = sections(PLAIN, lane("tuned", [token("It was asthma.")]))
    assert found.heading == found.left.label == found.right.label == ""
    assert (text(found.left), text(found.right)) == ("It is asthma.", "It was asthma.")
    assert (found.n_shared, found.n_left, found.n_right) == (2, 3, 3)


def test_reasoning_and_answer_are_compared_apart_without_headings() -> None:
    reasoning, answer = sections(
        thinking("base", "Perhaps asthma.", "Asthma."), thinking("tuned", "Surely asthma.", "Asthma, I think.")
    )
    assert [reasoning.heading, answer.heading] == ["Reasoning", "Final answer"]
    assert (text(reasoning.left), text(answer.left)) == ("Perhaps asthma.", "Asthma.")
    assert [s.text.strip() for s in reasoning.left.stretches if not s.shared] == ["Perhaps"]
    assert (answer.n_shared, answer.n_right) == (0, 3)
    assert "##" not in "".join(text(side) for side in (reasoning.left, answer.left, reasoning.right, answer.right))
    assert "<end>" not in text(answer.left)


def test_an_unclosed_reasoning_is_labelled_and_gives_no_answer() -> None:
    reasoning, answer = sections(thinking("base", "Perhaps asthma.", "Asthma."), thinking("tuned", "Okay, so", None))
    assert (reasoning.left.label, reasoning.right.label) == ("reasoning", NOT_FINISHED)
    assert text(reasoning.right) == "Okay, so"
    assert (text(answer.right), answer.right.note) == ("", NO_ANSWER)
    assert text(answer.left) == "Asthma."


def test_beside_an_answer_without_reasoning_nothing_is_marked_as_its_own() -> None:
    reasoning, answer = sections(PLAIN, thinking("tuned", "Perhaps.", "It is asthma."))
    assert reasoning.left.note == NO_REASONING
    assert all(stretch.shared for stretch in reasoning.right.stretches)
    assert reasoning.n_shared is None
    assert (text(answer.left), answer.n_shared) == ("It is asthma.", 3)


def test_two_open_reasonings_have_no_answers_to_compare() -> None:
    found: tuple[Section, ...] = sections(thinking("base", "Okay", None), thinking("tuned", "Okay", None))
    assert [side.note for side in (found[1].left, found[1].right)] == [NO_ANSWER, NO_ANSWER]
    assert found[0].n_shared == 1
