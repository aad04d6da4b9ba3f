"""The networks that read are EasyOCR's, their weights are data: nothing that lies beside them is run or unpickled."""

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import easyocr
import numpy as np
import pytest
import torch
from easyocr.config import detection_models, recognition_models
from easyocr.craft import CRAFT
from easyocr.model.vgg_model import Model
from easyocr.utils import calculate_md5
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stages.common.errors import UserError
from stages.score.reader import Reader, load_reader
from stages.score.recogniser import Recogniser, load_recogniser, load_text_detector
from tests.pictures import photograph, pixels

SHIPPED = Path(__file__).parents[3] / "demo" / "weights" / "reader"
CPU = torch.device("cpu")
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped reader that a test may spoil."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "reader"))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_reader(folder, text_detector=True)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(folder: Path, change: Callable[[Tensors], object]) -> Path:
    """The folder with other tensors, under the header of the shipped ones."""
    tensors = load_file(folder / "reader.safetensors")
    change(tensors)
    description = load_header(folder)
    save_file(tensors, folder / "reader.safetensors", metadata=description)
    return folder


def load_header(folder: Path) -> dict[str, str]:
    with safe_open(folder / "reader.safetensors", framework="pt") as file:
        return dict(file.metadata())


# --- Nothing in the folder is run ---


@pytest.mark.parametrize("name", ["reader.py", "vgg_model.py", "easyocr.py"])
def test_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'run')!r}).touch()\nfrom easyocr.model.vgg_model import Model\n"
    )
    path, modules = list(sys.path), set(sys.modules)
    assert f"{name}: weights are read as data" in refused(folder)
    assert not (tmp_path / "run").exists()
    assert sys.path == path
    assert "reader" not in set(sys.modules) - modules


@pytest.mark.parametrize("name", ["reader.pth", "english_g2.pth", "craft_mlt_25k.pth"])
@pytest.mark.parametrize("with_weights", [True, False])
def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path, name: str, with_weights: bool) -> None:
    class Attack:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "run",))

    (folder / name).write_bytes(pickle.dumps({"module.x": Attack()}))
    if not with_weights:
        (folder / "reader.safetensors").unlink()
    assert f"{name}: weights are read as data" in refused(folder)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["reader.safetensors", "english_g2.safetensors", "craft_mlt_25k.safetensors"])
def test_a_pickle_under_the_weights_own_name_is_no_weights_file(folder: Path, tmp_path: Path, name: str) -> None:
    class Attack:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "run",))

    if name == "english_g2.safetensors":
        (folder / "reader.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"module.x": Attack()}))
    assert f"{name}: no safetensors file" in refused(folder)
    assert not (tmp_path / "run").exists()


def test_a_tag_in_the_description_makes_no_object(folder: Path, tmp_path: Path) -> None:
    attack = f"!!python/object/apply:os.system [\"touch '{tmp_path}/run'\"]"
    (folder / "reader.yaml").write_text(f"imgH: 32\nlang_list: [en]\ncharacter_list: {attack}\n")
    refused(folder)
    assert not (tmp_path / "run").exists()


# --- What does not fit together is one line ---


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("imgH: 32", "imgH: 64", "not the description that reader.safetensors was written with"),
        ("0123456789AB", "0123456789BA", "not the description"),
        ("0123456789", "0123456780", "has a character twice"),
        ("imgH: 32", "imgH: 16", "imgH"),
        ("imgH: 32", "imgH: tall", "imgH"),
        ("imgH: 32", "", "imgH"),
        ("hidden_size: 128", "hidden_size: 1000000000", "network_params.hidden_size"),
        ("input_channel: 1", "input_channel: 3", "network_params.input_channel"),
        ("lang_list: [en]", "lang_list: [en]\nmodule: os", "module"),
        ("lang_list: [en]", "lang_list: [en", "not readable as YAML"),
    ],
)
def test_a_changed_description_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    text = (folder / "reader.yaml").read_text()
    assert old in text
    (folder / "reader.yaml").write_text(text.replace(old, new))
    line = refused(folder)
    assert "reader.yaml" in line
    assert said in line


NAME = "FeatureExtraction.ConvNet.0.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(NAME), f"{NAME} is missing"),
        (lambda t: t.update(more=torch.zeros(1)), "more: no tensor of Model"),
        (lambda t: t.update({NAME: t[NAME][:1]}), f"{NAME} is [1, 1, 3, 3], must be [16, 1, 3, 3]"),
        (lambda t: t.update({NAME: t[NAME].to(torch.int64)}), f"{NAME} is torch.int64, must be torch.float32"),
        (lambda t: t.update({NAME: t[NAME].to(torch.complex64)}), f"{NAME} is torch.complex64, must be torch.float32"),
    ],
)
def test_tensors_of_another_network_are_refused(folder: Path, change: Callable[[Tensors], object], said: str) -> None:
    assert said in refused(changed(folder, change))


def test_counters_that_reading_does_not_use_may_be_missing(folder: Path) -> None:
    counters = [name for name in load_file(folder / "reader.safetensors") if name.endswith("num_batches_tracked")]
    assert counters
    changed(folder, lambda tensors: [tensors.pop(name) for name in counters])
    with_and_without = [load_reader(f).read([pixels(photograph(1))], [[(5, 5, 60, 40)]]) for f in (SHIPPED, folder)]
    assert with_and_without[0] == with_and_without[1]


def test_missing_weights_are_one_line(tmp_path: Path) -> None:
    assert "no OCR weights" in refused(tmp_path)
    shutil.copy(SHIPPED / "reader.safetensors", tmp_path)
    assert "reader.yaml: no such file" in refused(tmp_path)


# --- The same networks as EasyOCR's own loader makes ---


def enlarged(seed: int) -> np.ndarray:
    return np.kron(pixels(photograph(seed)), np.ones((4, 4, 1), np.uint8))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[easyocr.Reader, Path]:
    """EasyOCR itself with random weights under its official names, and a folder with the same ones as safetensors."""
    root = tmp_path_factory.mktemp("official")
    pickles, folder = root / "pickles", root / "reader"
    pickles.mkdir()
    folder.mkdir()
    torch.manual_seed(4)
    characters = recognition_models["gen2"]["english_g2"]["characters"]
    recogniser, craft = Model(1, 256, 256, len(characters) + 1), CRAFT()
    with torch.no_grad():  # so that they read and find one thing here and another there
        for parameter in recogniser.parameters():
            parameter *= 4
        scores = craft.eval()(torch.from_numpy(enlarged(0)[None]).permute(0, 3, 1, 2) / 127.5 - 1)[0]
        scale = 0.4 / scores.std((0, 1, 2))
        craft.conv_cls[-1].weight *= scale[:, None, None, None]
        craft.conv_cls[-1].bias.copy_((craft.conv_cls[-1].bias - scores.mean((0, 1, 2))) * scale + 0.5)
    for name, network in (("english_g2", recogniser), ("craft_mlt_25k", craft)):
        tensors = network.state_dict()
        torch.save({f"module.{key}": tensor for key, tensor in tensors.items()}, pickles / f"{name}.pth")
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recognition_models["gen2"]["english_g2"], "md5sum", calculate_md5(pickles / "english_g2.pth"))
        patch.setitem(detection_models["craft"], "md5sum", calculate_md5(pickles / "craft_mlt_25k.pth"))
        reader = easyocr.Reader(
            ["en"],
            gpu=False,
            model_storage_directory=str(pickles),
            user_network_directory=str(pickles),
            download_enabled=False,
            verbose=False,
            quantize=False,
        )
    return reader, folder


def test_easyocr_s_recogniser_reads_as_in_easyocr(official: tuple[easyocr.Reader, Path]) -> None:
    reader, folder = official
    ours = load_recogniser(folder, CPU)
    assert (ours.characters, ours.height) == (reader.character, 64)
    assert set(reader.character) <= set(reader.lang_char), "EasyOCR would leave out characters that are kept here"
    theirs = Reader(Recogniser(reader.recognizer, reader.converter, reader.character, 64, CPU))
    pictures = [pixels(photograph(seed)) for seed in range(12)]
    boxes = [[(4.0, 6.0, 30.0 + seed, 20.0 + seed), (10.0, 10.0, 50.0, 30.0)] for seed in range(12)]
    readings = Reader(ours).read(pictures, boxes)
    assert readings == theirs.read(pictures, boxes)
    assert len({reading.text for of_picture in readings for reading in of_picture}) > 1


def test_easyocr_s_text_detector_finds_as_in_easyocr(official: tuple[easyocr.Reader, Path]) -> None:
    reader, folder = official
    assert load_text_detector(SHIPPED, CPU) is None
    ours = load_reader(folder, text_detector=True)
    pictures = [enlarged(seed) for seed in range(3)]
    found = ours.find(pictures)
    assert sum(map(len, found)) > 0
    for boxes, picture in zip(found, pictures, strict=True):
        (horizontal,), (free,) = reader.detect(np.ascontiguousarray(picture[..., ::-1]))
        straight = [(x0, y0, x1, y1) for x0, x1, y0, y1 in horizontal]
        slanted = [(*np.min(corners, axis=0), *np.max(corners, axis=0)) for corners in free]
        assert boxes == straight + slanted
