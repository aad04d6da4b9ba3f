"""Known answers for the normalised score and the intervals, and a simulation of the intervals' coverage."""

import numpy as np
import pytest

from stages.common.statistics import cluster_bootstrap, normalised_score, paired_bootstrap, ranks, wilson_interval


def test_normalised_score_is_the_mean_of_both_metrics_scaled_to_their_range() -> None:
    od, ocr = [0.2, 0.6, 0.4, 0.2], [0.0, 0.25, 0.5, 0.1]
    assert normalised_score(od, ocr) == pytest.approx([0.0, 0.75, 0.75, 0.1])


def test_the_best_of_both_scores_one_and_the_worst_of_both_zero() -> None:
    scores = normalised_score([0.1, 0.9, 0.5], [0.0, 23 / 48, 0.2])
    assert scores.max() == 1
    assert scores.min() == 0
    assert list(ranks(scores)) == [3, 1, 2]


def test_a_metric_on_which_all_agree_ranks_nothing() -> None:
    assert list(normalised_score([0.5, 0.5], [0.1, 0.3])) == [0.0, 0.5]
    assert list(normalised_score([0.5], [0.3])) == [0.0]


@pytest.mark.parametrize(("od", "ocr"), [([0.1], [0.1, 0.2]), ([], []), ([float("nan")], [0.1]), ([[0.1]], [[0.1]])])
def test_what_cannot_be_normalised_is_refused(od: list, ocr: list) -> None:
    with pytest.raises(ValueError, match=r"length|non-empty|no number"):
        normalised_score(od, ocr)


def test_equal_scores_share_the_better_rank() -> None:
    assert list(ranks([0.3, 0.9, 0.3, 0.1])) == [2, 1, 2, 4]


def test_wilson_interval_of_the_papers_best_lora_ocr() -> None:
    assert wilson_interval(23, 48) == pytest.approx((0.3447, 0.6167), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson_interval(5, 10, 0.9) == pytest.approx((0.2693, 0.7307), abs=1e-4)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_interval_refuses_what_is_no_rate(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        wilson_interval(k, n)


def test_paired_bootstrap_sees_a_difference_that_every_pair_shows() -> None:
    rng = np.random.default_rng(0)
    b = rng.random(48)
    estimate = paired_bootstrap(b + 0.2 + rng.normal(0, 0.05, 48), b, np.repeat(np.arange(6), 8))
    assert estimate.mean == pytest.approx(0.2, abs=0.03)
    assert estimate.verdict == "higher"
    assert paired_bootstrap(b, b + 0.2, np.repeat(np.arange(6), 8)).verdict == "lower"


def test_paired_bootstrap_says_when_it_cannot_tell() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(48) < 0.5, rng.random(48) < 0.5
    assert paired_bootstrap(a, b, np.repeat(np.arange(6), 8)).verdict == "not distinguishable"


def test_one_prompt_that_differs_is_no_evidence_for_all_prompts() -> None:
    a = np.repeat([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], 8)
    prompts = np.repeat(np.arange(6), 8)
    assert paired_bootstrap(a, np.zeros(48), prompts).verdict == "not distinguishable"
    assert paired_bootstrap(a, np.zeros(48)).verdict == "higher"  # as 48 independent pairs it would be


def test_the_same_input_gives_the_same_interval() -> None:
    a, b = np.arange(12) / 12, np.arange(12)[::-1] / 12
    assert paired_bootstrap(a, b, list("aabbccddeeff")) == paired_bootstrap(a, b, list("aabbccddeeff"))


def test_one_cluster_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="two"):
        cluster_bootstrap([1.0, 2.0], [0, 0])


def test_wilson_covers_at_its_nominal_rate_on_average() -> None:
    rng = np.random.default_rng(2)
    shares = rng.uniform(0.02, 0.98, 6000)
    hits = rng.binomial(48, shares)
    intervals = {k: wilson_interval(k, 48) for k in range(49)}
    covered = [intervals[k][0] <= p <= intervals[k][1] for k, p in zip(hits, shares, strict=True)]
    assert 0.94 <= np.mean(covered) <= 0.96


@pytest.mark.parametrize("clusters", [6, 12, 40])
def test_paired_bootstrap_covers_at_its_nominal_rate(clusters: int) -> None:
    """Two checkpoints whose success differs between prompts (beta distributed), eight seeds a prompt."""
    rng = np.random.default_rng(clusters)
    covered = []
    for trial in range(1600):
        p, q = rng.beta(3.0, 2.0, (clusters, 1)), rng.beta(2.0, 3.0, (clusters, 1))
        a, b = (rng.random((clusters, 8)) < p).ravel(), (rng.random((clusters, 8)) < q).ravel()
        estimate = paired_bootstrap(a, b, np.repeat(np.arange(clusters), 8), samples=500, seed=trial)
        covered.append(estimate.low <= 0.2 <= estimate.high)
    # 1,600 trials know the rate to ±1 point (two standard errors) themselves.
    assert 0.935 <= np.mean(covered) <= 0.965
