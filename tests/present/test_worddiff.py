"""Two texts word by word."""

from hypothesis import given
from hypothesis import strategies as st

from core.present.worddiff import word_diff

_texts = st.lists(st.sampled_from(["asthma", "is", "a", "disease", "of", "the", "airways."]), max_size=30).map(" ".join)


@given(_texts, _texts)
def test_nothing_is_lost_and_what_is_shared_is_the_same(left: str, right: str) -> None:
    found = word_diff(left, right)
    for text, stretches in ((left, found.left), (right, found.right)):
        assert "".join(stretch.text for stretch in stretches) == text
    shared = [" ".join(s.text.strip() for s in side if s.shared) for side in (found.left, found.right)]
    assert shared[0] == shared[1]
    assert found.n_shared == len(shared[0].split())


def test_a_changed_word_is_marked_on_both_sides() -> None:
    found = word_diff("Asthma is a chronic disease.", "Asthma is a\nlung disease.")
    assert [s.text.strip() for s in found.left if not s.shared] == ["chronic"]
    assert [s.text.strip() for s in found.right if not s.shared] == ["lung"]
    assert (found.n_shared, found.n_left, found.n_right) == (4, 5, 5)
