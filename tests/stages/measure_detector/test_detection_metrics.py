"""Known answers for average precision, rates at a threshold and the calibration curve."""

import pytest

from stages.common.boxes import clipped, overlap
from stages.common.detector import Detection
from stages.measure_detector.detection_metrics import at_threshold, average_precision, match, reliability

BOX, OTHER = (10.0, 10.0, 30.0, 20.0), (50.0, 50.0, 60.0, 60.0)


def test_overlap_of_a_box_with_half_of_itself_is_a_half() -> None:
    assert overlap([BOX], [(10, 10, 20, 20), BOX, OTHER])[0] == pytest.approx([0.5, 1.0, 0.0])


def test_clipped_box_outside_has_no_area() -> None:
    assert clipped((70, 70, 80, 80), 64, 64) == (64, 64, 64, 64)


def test_a_second_detection_of_one_box_is_wrong() -> None:
    assert match([Detection(BOX, 0.9), Detection(BOX, 0.8)], [BOX], 0.5) == [True, False]


def test_a_perfect_detector_has_an_average_precision_of_one() -> None:
    found = [[Detection(BOX, 0.9)], [Detection(OTHER, 0.8)], []]
    assert average_precision(found, [[BOX], [OTHER], []], 0.5) == pytest.approx(1.0)


def test_average_precision_of_half_the_boxes_after_a_false_alarm() -> None:
    # Ranked: a false alarm, then a hit: precision 1/2 up to recall 1/2, nothing beyond: 51 of 101 recalls at 0.5.
    found = [[Detection(OTHER, 0.9)], [Detection(BOX, 0.8)], []]
    assert average_precision(found, [[], [BOX], [BOX]], 0.5) == pytest.approx(0.5 * 51 / 101)


def test_average_precision_needs_a_true_box() -> None:
    with pytest.raises(ValueError, match="at least one"):
        average_precision([[]], [[]], 0.5)


def test_rates_at_the_threshold() -> None:
    found = [[Detection(BOX, 0.9)], [Detection(BOX, 0.6)], [Detection(OTHER, 0.75)], []]
    rates = at_threshold(found, [[BOX], [BOX], [], []], 0.7, 0.95)
    assert (rates["precision"], rates["recall"], rates["false_positive_rate"]) == (0.5, 0.5, 0.5)
    assert rates["recall_low"] < 0.5 < rates["recall_high"]


def test_a_rate_without_a_denominator_is_left_out() -> None:
    assert "precision" not in at_threshold([[]], [[BOX]], 0.7, 0.95)
    assert "false_positive_rate" not in at_threshold([[]], [[BOX]], 0.7, 0.95)


def test_calibration_compares_confidence_with_the_share_that_is_right() -> None:
    found = [[Detection(BOX, 0.95)], [Detection(BOX, 0.93)], [Detection(OTHER, 0.12)]]
    curve = reliability(found, [[BOX], [BOX], [BOX]])
    assert [(row["share_right"], row["detections"]) for row in curve] == [(0.0, 1), (1.0, 2)]
