"""Transparent margins have no part in the training, logos a greater one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.common.errors import UserError
from stages.finetune.pictures import logo_coverage, opaque_cells, weigh_logos
from tests.engine_world import MARGIN, SIZE, small_params, write_pictures
from tests.stages.finetune.trainers import gradients, start


@pytest.mark.parametrize("method", ["lora", "dreambooth"])
def test_what_stands_under_transparent_margins_changes_not_a_byte(method: str, base: Path, tmp_path: Path) -> None:
    results = []
    for hidden in (0, 255):
        folder = tmp_path / str(hidden)
        data = write_pictures(folder / "data", count=2, hidden=hidden)
        run = start(method, small_params(), data, base)
        run.gradients(0)
        results.append(gradients(run))
    assert torch.equal(*results)


def test_margins_have_no_part_in_the_loss(data: Path, base: Path) -> None:
    run = start("dreambooth", small_params(), data, base)
    noisy, timesteps, text, target, mask, visible = run.make_batch(0, torch.tensor([1])).inputs
    cells = MARGIN // 4 + 1  # a cell that the margin touches is out, 6 pixels touch two cells of four
    assert mask[0, 0, 0].tolist() == [0] * cells + [1] * (8 - 2 * cells) + [0] * cells
    with torch.no_grad():
        plain = run.loss(noisy, timesteps, text, target, mask, visible)
        changed = run.loss(noisy, timesteps, text, target + 100 * (1 - mask), mask, visible)
        prediction = run.method.base.unet(noisy, timesteps, text).sample
    assert torch.equal(plain, changed)
    seen = (prediction - target)[..., cells:-cells].square().mean()
    assert float(plain) == pytest.approx(float(seen), rel=1e-5)


def test_a_cell_counts_only_if_all_its_pixels_are_opaque() -> None:
    opaque = np.ones((8, 8), dtype=bool)
    opaque[0, 0] = opaque[5, 7] = False
    assert opaque_cells(opaque, 4).tolist() == [[False, True], [True, False]]


def test_coverage_tells_how_much_of_a_logo_the_margins_take() -> None:
    mask = torch.ones(3, 1, 8, 8)
    mask[1, :, :, :4] = 0
    rows = [{"file_name": "whole", "box": [8, 10, 24, 20]}, {"file_name": "half", "box": [8, 10, 24, 20]}]
    rows.append({"file_name": "no box", "box": None})
    report = logo_coverage(rows, mask, scale=4)
    assert report == [
        {"file_name": "whole", "logo_share_in_loss": 1.0},
        {"file_name": "half", "logo_share_in_loss": 0.5},
    ]


def test_the_cells_of_a_logo_weigh_more_and_margins_still_nothing() -> None:
    mask = torch.ones(2, 1, 4, 4)
    mask[0, :, :, 0] = 0
    rows = [{"file_name": "logo", "box": [0, 4, 10, 8]}, {"file_name": "none", "box": None}]
    weighed = weigh_logos(rows, mask, scale=4, weight=5.0)
    assert weighed[0, 0].tolist() == [[0, 1, 1, 1], [0, 5, 3, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    assert torch.equal(weighed[1], mask[1])
    assert torch.equal(weigh_logos(rows, mask, scale=4, weight=1.0), mask)


def test_a_wholly_transparent_picture_is_an_error_that_names_it(base: Path, tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", count=2)
    Image.new("RGBA", (SIZE, SIZE)).save(data / "1.png")
    with pytest.raises(UserError, match=r"1\.png.*opaque"):
        start("lora", small_params(), data, base)
