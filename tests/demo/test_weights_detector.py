"""The shipped start finds logos of other brands on pictures that it was not trained on."""

from demo.detector import TARGET, measure
from demo.training import demo_params
from stages.common.detector import load_detector


def test_finds_logos_on_held_out_pictures() -> None:
    params = demo_params()
    numbers = measure(load_detector(TARGET), params["detector"], params["seed"], count=150)
    assert numbers["mAP50"] >= 0.9
    assert numbers["false_positive_rate"] <= 0.1


def test_weights_are_small() -> None:
    assert (TARGET / "detector.safetensors").stat().st_size <= 6.3e6
