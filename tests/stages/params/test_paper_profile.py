"""profiles/paper.yaml is the paper's experiment: "Fine-Tuning Methods for Diffusion Models" (VU Amsterdam).

The facts are the paper's, written down here with the section, table or figure that each is in.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.caption.products import Known
from stages.caption.template import fill_template
from stages.common.params import METHODS, Params, load_params, read_yaml
from stages.params.profiles import apply_profiles

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "profiles/paper.yaml"
PROMPTS = [  # 4.3
    "A red_hugo_logo",
    "A male model wearing a blue red_hugo_logo sweater",
    "A female model wearing a green red_hugo_logo t-shirt",
    "The latest red_hugo_logo products",
    "A billboard with the red_hugo_logo",
    "The new red_hugo_logo fragrance perfume",
]
LORA_RATES = {1e-6, 5e-6, 1e-5, 5e-5, 1e-4}  # Table 1, of the UNet and of the text encoder
RANKS = {4, 8, 16, 32, 64}  # Table 1


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """params.yaml with the profile written into it, as `make profile NAME=paper` does."""
    path = Path(shutil.copyfile(ROOT / "params.yaml", tmp_path_factory.mktemp("paper") / "params.yaml"))
    apply_profiles(path, [PAPER])
    return path


@pytest.fixture(scope="module")
def params(file: Path) -> Params:
    return load_params(file)


def test_what_is_taught_and_from_which_products(params: Params) -> None:
    assert (params.brand.word, params.brand.token) == ("HUGO", "red_hugo_logo")  # 4.1, 4.2
    assert params.scrape.name_contains == "logo"  # 4.1


def test_six_prompts_word_by_word_and_eight_pictures_each(params: Params) -> None:
    assert [prompt.replace("{token}", params.brand.token) for prompt in params.sample.prompts] == PROMPTS
    assert params.sample.images_per_prompt == 8  # 5


def test_thirty_epochs_and_a_checkpoint_every_three(params: Params) -> None:
    for method in METHODS:
        training = params.training(method)
        assert (training.last_epoch, training.save_every) == (30, 3), method  # Figure 11; 4.3


def test_dreambooth_has_one_caption_and_no_prior_preservation(params: Params) -> None:
    dreambooth = params.finetune.dreambooth
    assert dreambooth.class_caption.replace("{token}", params.brand.token) == "a red_hugo_logo logo"  # 4.3
    assert dreambooth.prior_weight == 0  # 3.3


@pytest.mark.parametrize(
    ("known", "caption"),
    [
        (Known("sweatshirt", "black", None, "on the chest"), "a black sweatshirt with a red_hugo_logo on the chest"),
        (Known("hat", "black", None, "on the front"), "a black hat with a red_hugo_logo on the front"),
    ],
)
def test_captions_are_those_of_figure_3(params: Params, known: Known, caption: str) -> None:
    filled = fill_template(params.caption.template, known)
    assert filled.replace("{token}", params.brand.token) == caption


def test_each_method_trains_at_its_best_rates(params: Params) -> None:
    finetune = params.finetune  # Table 2
    assert finetune.dreambooth.learning_rate == 2e-5
    assert finetune.textual_inversion.learning_rate == 1e-3
    assert (finetune.lora.unet_lr, finetune.lora.text_encoder_lr, finetune.lora.rank) == (5e-6, 1e-4, 16)
    assert not finetune.lora.convolutions  # 3.3: attention
    assert finetune.textual_inversion.num_vectors == 1  # 3.3: the embedding of one token


def test_nothing_of_the_miniatures_is_left_in_the_loss(params: Params) -> None:
    for method in METHODS:
        training = params.training(method)
        assert training.logo_weight == 1, method
        assert (training.timesteps, training.lr_scheduler, training.snr_gamma) == ("uniform", "constant", 0), method
        assert (training.caption_dropout, training.noise_offset, training.ema_decay) == (0, 0, 0), method


def test_the_pictures_and_the_detector(params: Params) -> None:
    assert params.resolution == 512  # 3.2
    detector = params.detector  # 4.2: 210 pictures become 630 by rotation, zoom crops and brightness alone
    assert (detector.augmentations, detector.negative_augmentations, detector.hard_negatives) == (2, 2, 0)
    assert min(detector.rotation, detector.zoom, detector.brightness) > 0
    assert (detector.recoloured, detector.redrawn, detector.blur) == (0, 0, 0)
    assert params.score.threshold == 0.70  # 4.2


def test_the_grid_has_the_papers_134_models(file: Path) -> None:
    grid = read_yaml(file)["grid"]
    models = {method: math.prod(len(values) for values in lists.values()) for method, lists in grid.items()}
    assert models == {"dreambooth": 3, "textual_inversion": 6, "lora": 125}
    assert set(grid["dreambooth"]["learning_rate"]) == {1e-5, 2e-5, 5e-5}  # 3.3
    assert set(grid["textual_inversion"]["learning_rate"]) == {1e-3, 5e-4, 1e-4, 2e-5, 1e-5, 1e-6}  # 3.3
    assert set(grid["lora"]["unet_lr"]) == set(grid["lora"]["text_encoder_lr"]) == LORA_RATES
    assert set(grid["lora"]["rank"]) == RANKS


def test_the_rates_trained_at_are_of_the_grid(params: Params, file: Path) -> None:
    for method, lists in read_yaml(file)["grid"].items():
        for name, values in lists.items():
            assert getattr(params.training(method), name) in values, (method, name)


@pytest.mark.parametrize("version", [(1, 1), (1, 2)], ids=str)
def test_yaml_of_either_version_reads_the_rates_as_numbers(file: Path, version: tuple[int, int]) -> None:
    """DVC reads params.yaml by YAML 1.2; PyYAML, of other tools, reads 5e-6 as a string."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    content = yaml.load(file.read_text(encoding="utf-8"))
    for lists in content["grid"].values():
        for values in lists.values():
            assert all(isinstance(value, (int, float)) for value in values), values
    assert isinstance(content["finetune"]["lora"]["unet_lr"], float)


TEXTS = {".py", ".md", ".yaml", ".yml", ".toml", ".j2", ".sh", ".json", ".txt"}
NOT_OURS = {".git", ".venv", ".dvc", ".emblem", "models", "vendor", "storefront", "weights", "node_modules"}
"""Folders that hold no text of this project's own."""


def test_no_text_names_a_section_that_the_paper_does_not_have() -> None:
    """Its sections end with 4.3 in the fourth, 5.3 in the fifth; 6 and 7 have none."""
    wrong = re.compile(r"paper,? (?:[1267]\.\d|3\.[4-9]|4\.[4-9]|5\.[4-9]|[089]\b)")
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(set(folders) - NOT_OURS)
        for path in (Path(folder, name) for name in files):
            if path.suffix in TEXTS or path.name == "Makefile":
                text = path.read_text(encoding="utf-8", errors="replace")
                found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in wrong.finditer(text)]
    assert found == []
