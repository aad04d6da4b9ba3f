"""The detector's pictures, files and refusals. What it detects is measured by the stage that trains it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stages.common.detector import load_detector, new_model, prepare, save_detector
from stages.common.errors import UserError
from stages.train_detector.training import first_class


def test_a_picture_is_reduced_to_the_training_resolution_before_it_is_enlarged() -> None:
    fine = np.zeros((512, 512, 3), np.uint8)
    fine[:, ::2] = 255  # stripes of one pixel, which a 64-pixel picture cannot hold
    picture, place = prepare(fine, 64, 128)
    assert picture.shape == (128, 128, 3)
    assert np.ptp(picture[20:-20, 20:-20]) <= 4
    assert (place.scale, place.dx, place.dy) == (0.25, 0, 0)


def test_a_small_picture_is_only_enlarged_and_a_tall_one_padded() -> None:
    picture, place = prepare(np.full((64, 32, 3), 200, np.uint8), 64, 128)
    assert (place.scale, place.dx, place.dy) == (2.0, 32, 0)
    assert (picture[:, :32] == 114).all()
    assert (picture[:, 32:96] == 200).all()


def test_saved_twice_the_bytes_are_the_same_and_load_again(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = new_model()
    first, second = save_detector(model, tmp_path / "a", 128, 64), save_detector(model, tmp_path / "b", 128, 64)
    assert first.read_bytes() == second.read_bytes()
    loaded = load_detector(tmp_path / "a")
    assert (loaded.image_size, loaded.resolution) == (128, 64)


def test_the_first_class_alone_says_what_it_said_among_two(tmp_path: Path) -> None:
    torch.manual_seed(1)
    start = save_detector(new_model(), tmp_path, 128, 64)
    both = new_model(start, classes=2)
    pictures = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        for_logo, for_alike = both.eval()(pictures)[0][:, 4:].unbind(1)
        assert torch.equal(for_logo, for_alike)  # both begin as the start's one class
        both.model[-1].cv3[0][2].bias[1] += 3
        boxes_and_both = both(pictures)[0]
        # Not to the last bit: a kernel may sum one output in another order than two.
        torch.testing.assert_close(first_class(both)(pictures)[0], boxes_and_both[:, :5], rtol=1e-4, atol=1e-5)


def test_detections_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = new_model()
    for name, parameter in model.named_parameters():
        if name.endswith("cv3.0.2.bias"):
            parameter.data += 12  # an untrained head hardly fires: make it
    save_detector(model, tmp_path, 128, 64)
    detector = load_detector(tmp_path)
    pictures = [np.random.default_rng(i).integers(0, 256, (64, 64, 3)).astype(np.uint8) for i in range(5)]
    together = detector.detect(pictures)
    assert any(together)
    for picture, found in zip(pictures, together, strict=True):
        alone = detector.detect([picture])[0]
        assert [d.confidence for d in alone] == pytest.approx([d.confidence for d in found], abs=1e-4)
        assert [d.confidence for d in found] == sorted((d.confidence for d in found), reverse=True)


def test_weights_of_something_else_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_detector(tmp_path)
    path = tmp_path / "detector.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="no detector published"):
        load_detector(tmp_path)
    with pytest.raises(UserError, match="no YOLOv8n"):
        new_model(path)
    path.write_bytes(b"not tensors")
    with pytest.raises(UserError, match="safetensors"):
        load_detector(tmp_path)


def test_ultralytics_leaves_pillow_alone(tmp_path: Path) -> None:
    """Its own Image.open would install a package where a file is no picture."""
    new_model()
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(tmp_path / "x.png")
