"""Letters of every kind of lane, against plain models and against the lanes' own answers."""

import pytest

from core.generate.batch import Batch
from core.generate.lane import Lane, amplified_lane, patched_lane
from core.generate.lanes import start_alone
from core.generate.letters import lane_letters
from core.generate.sampling import Sampling
from core.generate.seat import Seat
from core.measure.multiple_choice import LETTER_PROMPT
from core.measure.options import Options, parse_options
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message
from tests import oracle
from tests.conftest import TinyFolders

QUESTION = "What is asthma?\nA. A disease of the lungs\nB. A blood test\nC. A doctor"


@pytest.fixture
def options() -> Options:
    found = parse_options(QUESTION)
    assert found is not None
    return found


def prompt_ids(pair: Pair) -> tuple[int, ...]:
    prompt = pair.prompts.chat([Message(role="user", content=QUESTION + LETTER_PROMPT)])
    return (*prompt.ids, *(pair.prompts.answer_ids("\n</think>\n\n") if prompt.opens_reasoning else ()))


def test_an_amplified_lane_is_asked_as_the_sum_it_is(pair: Pair, folders: TinyFolders, options: Options) -> None:
    base, tuned = pair.base_gates(), pair.tuned_gates()
    lanes = [amplified_lane(f"by {alpha}", base, tuned, alpha) for alpha in (-1.0, 0.0, 2.0)]
    found = lane_letters(pair, QUESTION, options, lanes)
    of_base = oracle.logits(oracle.plain_base(folders.base), prompt_ids(pair))[-1].double()
    of_tuned = oracle.logits(oracle.plain_tuned(folders.base, folders.tuned), prompt_ids(pair))[-1].double()
    letters = [pair.prompts.answer_ids(letter)[0] for letter in "ABC"]
    for choice, alpha in zip(found, (-1.0, 0.0, 2.0), strict=True):
        p = (of_tuned + alpha * (of_tuned - of_base)).softmax(-1)[letters]
        assert choice.probabilities == pytest.approx((p / p.sum()).tolist(), abs=1e-4)
        assert choice.mass == pytest.approx(float(p.sum()), abs=1e-4)
        assert choice.noise is not None
        assert choice.noise < 1e-4
    assert found[2].probabilities != pytest.approx(found[1].probabilities, abs=1e-3)


def test_a_patched_residual_is_asked_as_the_graft_it_equals(pair: Pair, options: Options) -> None:
    base, tuned = pair.base_gates(), pair.tuned_gates()
    last = pair.n_layers - 2
    lanes = [
        Lane("base", base),
        patched_lane("patched", base, tuned, "resid_post", (last,)),
        Lane("grafted", Gates.graft(pair.n_layers, range(last + 1))),
        patched_lane("of itself", base, base, "resid_post", (last,)),
    ]
    plain, patched, grafted, same = lane_letters(pair, QUESTION, options, lanes)
    assert patched.probabilities == pytest.approx(grafted.probabilities, abs=1e-5)
    assert patched.probabilities != pytest.approx(plain.probabilities, abs=1e-4)
    assert same.probabilities == pytest.approx(plain.probabilities, abs=1e-5)
    assert patched.noise is not None
    assert patched.noise < 1e-4


def test_a_lane_is_likeliest_to_write_the_letter_it_chooses(pair: Pair, options: Options) -> None:
    base, tuned = pair.base_gates(), pair.tuned_gates()
    lanes = [patched_lane("mlp", base, tuned, "mlp_out", (1, 2)), amplified_lane("beyond", base, tuned, 3.0)]
    for lane, choice in zip(lanes, lane_letters(pair, QUESTION, options, lanes), strict=True):
        seat = Seat(pair, prompt_ids(pair), [lane], Sampling(), 1, extra_gates=base)  # with these it keeps its logits
        start_alone(Batch(pair), seat)
        p = seat.logits[0][0].double().softmax(-1)
        own = p[[pair.prompts.answer_ids(letter)[0] for letter in "ABC"]]
        assert choice.mass == pytest.approx(float(own.sum()), abs=1e-4)
        assert choice.probabilities == pytest.approx((own / own.sum()).tolist(), abs=1e-4)
