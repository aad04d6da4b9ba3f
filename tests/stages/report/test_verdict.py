"""The rule ships the checkpoint that it says it ships."""

import pytest

from stages.common.params import Gates
from stages.common.tables import Row
from stages.report.verdict import RULE, Verdict, decide
from tests.scored_world import scored_rows


def verdict_of(scores: dict[str, list[Row]]) -> Verdict:
    gates = Gates(max_memorised_share=0.2, min_colour_fidelity=0.5, min_prompt_fidelity=0.5)
    return decide(scores, gates=gates, confidence=0.95, samples=300, seed=0)


def test_the_highest_success_among_those_that_pass_is_shipped() -> None:
    verdict = verdict_of({"lora": scored_rows("lora", {0: 0.0, 3: 0.1, 6: 0.7, 9: 0.3})})
    assert verdict.shipped is not None
    assert (verdict.shipped.method, verdict.shipped.epoch) == ("lora", 6)
    assert {c.epoch for c in verdict.passed} == {3, 6, 9}  # the untuned base is no candidate


def test_a_copying_method_is_rejected_though_it_scores_highest() -> None:
    scores = {
        "dreambooth": scored_rows("dreambooth", {3: 0.95}, memorised=0.6),
        "lora": scored_rows("lora", {3: 0.6}),
    }
    verdict = verdict_of(scores)
    assert verdict.shipped is not None
    assert verdict.shipped.method == "lora"
    assert "copies training pictures" in verdict.rejected[0].rejected[0]


def test_the_wrong_colour_is_rejected() -> None:
    verdict = verdict_of({"lora": scored_rows("lora", {3: 0.9}, colour=0.1)})
    assert verdict.shipped is None
    assert "wrong colour" in verdict.rejected[0].rejected[0]


def test_other_things_than_the_prompt_asked_for_are_rejected() -> None:
    """A method that puts the logo on a t-shirt whatever the prompt says scores well and is of no use."""
    scores = {method: scored_rows(method, {3: share}) for method, share in (("dreambooth", 0.95), ("lora", 0.6))}
    for method, rows in scores.items():
        for row in rows:
            row["clip_prompt_right"] = None if row["plain"] else method == "lora" or row["prompt_index"] == 1
    verdict = verdict_of(scores)
    assert verdict.shipped is not None
    assert verdict.shipped.method == "lora"
    assert verdict.rejected[0].rejected == ("wrong things: 17% are nearest to their own prompt, needed 50%",)


def test_a_gate_lets_its_limit_pass() -> None:
    rows = scored_rows("lora", {3: 0.9})
    for row in rows:
        row["clip_prompt_right"] = row["seed_index"] % 2 == 0
    verdict = verdict_of({"lora": rows})
    assert verdict.shipped is not None


def test_nothing_is_shipped_where_nothing_succeeds() -> None:
    verdict = verdict_of({"lora": scored_rows("lora", {3: 0.0, 6: 0.0})})
    assert verdict.shipped is None
    assert "readable" in verdict.reason


def test_a_gate_without_its_number_is_said_and_not_applied() -> None:
    rows = scored_rows("lora", {3: 0.8})
    for row in rows:
        row["memorised"] = None
    verdict = verdict_of({"lora": rows})
    assert verdict.shipped is not None
    assert "memorisation" in verdict.shipped.unchecked[0]


def test_candidates_that_cannot_be_told_apart_are_named() -> None:
    verdict = verdict_of({"lora": scored_rows("lora", {3: 0.6, 6: 0.6, 9: 0.05})})
    verdicts = {r.candidate.epoch: r.difference.verdict for r in verdict.rivals if r.difference}
    assert verdicts[9] == "higher"
    assert "not distinguishable" in verdicts.values()


def test_the_numbers_reported_are_of_seeds_that_did_not_select() -> None:
    rows = scored_rows("lora", {3: 0.5})
    for row in rows:
        if not row["plain"]:
            row["joint"] = 1 if row["seed_index"] % 2 == 0 else 0
    verdict = verdict_of({"lora": rows})
    assert verdict.shipped is not None
    assert verdict.shipped.selection["joint_success"] == 1
    assert verdict.shipped.report["joint_success"] == 0


def test_the_rule_is_written_out() -> None:
    assert len(RULE) == 4
    assert all(sentence.endswith(".") for sentence in RULE)


@pytest.mark.parametrize("method", ["lora", "dreambooth"])
def test_equal_bounds_ship_the_earlier_epoch(method: str) -> None:
    verdict = verdict_of(
        {method: [r | {"od": 0.9, "ocr": 1, "joint": 1} for r in scored_rows(method, {6: 1.0, 3: 1.0})]}
    )
    assert verdict.shipped is not None
    assert verdict.shipped.epoch == 3
