"""Stage pretrained: collect every weight that the pipeline starts from, so that all later stages work offline.

Reads   demo/weights, or what params.yaml pins: repositories of a model hub by commit, files by URL and hash.
Writes  models/pretrained: base/ (a Stable Diffusion pipeline in diffusers' layout), clip/, detector/ (YOLOv8n's start
        as plain tensors) and reader/ (EasyOCR's recogniser, and its text detector where one is named).

Every file's hash is compared before it is used: with demo/weights/SHA256SUMS, with `pretrained.hashes`, else with the
one that the hub names for the pinned commit. A killed run continues; what is complete is not fetched again. The result
is in DVC's cache: a hub that removes a model breaks nobody who has run this stage, or has pulled it, once.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import Pretrained, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, file_digest, publish, scratch_folder

SUMS = Path("demo/weights/SHA256SUMS")
OUTPUT = Path("models/pretrained")
PARTS = ("base", "clip", "detector", "reader")
RECOGNISER, TEXT_DETECTOR = "english_g2.pth", "craft_mlt_25k.pth"
"""EasyOCR's own names; it looks for them and compares their MD5."""


def pretrained(
    params: Pretrained, sums_file: Path = SUMS, output: Path = OUTPUT, scratch_root: Path = SCRATCH_ROOT
) -> Path:
    """Collect the checked weights named by `params` in `output`.

    Raises UserError, in one line, for what is missing, damaged, another file than the pinned one, or out of reach.
    """
    scratch = scratch_folder("pretrained", digest(params.model_dump()), scratch_root)
    downloads, parts = scratch / "downloads", scratch / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    hashes = hashes_by_part(params.hashes)
    for part in PARTS:
        named = getattr(params, part)
        if params.source == "demo" or Path(named).is_dir():
            copy_checked(part, Path(named), sums_file, parts / part)
        elif part == "base":
            fetch_base(named, params.base_revision, downloads / part, parts / part, hashes["base"])
        elif part == "clip":
            fetch_clip(named, params.clip_revision, downloads / part, parts / part, hashes["clip"])
        elif part == "detector":
            fetch_detector(named, downloads / part, parts / part, hashes["detector"])
        else:
            fetch_reader(named, params.text_detector, downloads / part, parts / part, hashes["reader"])
    publish(parts, output)
    return output


def hashes_by_part(hashes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """`pretrained.hashes` by part: {"base/unet/x": h} -> {"base": {"unet/x": h}}. Raises UserError for another part."""
    by_part: dict[str, dict[str, str]] = {part: {} for part in PARTS}
    for path, value in hashes.items():
        part, _, rest = path.partition("/")
        if part not in by_part or not rest:
            raise UserError(f"pretrained.hashes: {path!r}: must begin with one of {', '.join(f'{p}/' for p in PARTS)}")
        by_part[part][rest] = value
    return by_part


# --- Weights in the repository -------------------------------------------------------------------------------------


def copy_checked(part: str, source: Path, sums_file: Path, target: Path) -> None:
    """Copy a part's folder, all of whose files stand in the list of hashes."""
    if not source.is_dir():
        raise UserError(f"params.yaml: pretrained.{part} = {str(source)!r}: no such folder")
    sums = {
        name: value for name, value in read_sums(sums_file).items() if (sums_file.parent / name).is_relative_to(source)
    }
    check_sums(sums_file.parent, sums)
    unlisted = {p for p in source.rglob("*") if p.is_file()} - {sums_file.parent / name for name in sums}
    if unlisted:
        raise UserError(f"{min(unlisted)} has no hash in {sums_file}")
    shutil.copytree(source, target)


def read_sums(path: Path) -> dict[str, str]:
    """Read a sha256sum file: relative path -> hex digest. Raises UserError where it is missing or a path leaves it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: the list of the weights' hashes is missing") from None
    sums = {}
    for line in lines:
        value, _, name = line.partition("  ")
        if len(value) != 64 or Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{path}: not a line of a sha256 list: {line!r}")
        sums[name] = value
    return sums


def check_sums(folder: Path, sums: dict[str, str]) -> None:
    """Compare the files below `folder` with their hashes. Raises UserError naming the first missing or wrong one."""
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing: restore it with git checkout")
        found = file_digest(folder / name)
        if found != expected:
            raise UserError(
                f"{folder / name}: sha256 is {found[:12]}..., should be {expected[:12]}...: the file is damaged"
            )


# --- Weights from elsewhere ----------------------------------------------------------------------------------------


def fetch_base(repository: str, revision: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch a Stable Diffusion repository's pipeline, without its safety checker, and see that diffusers opens it."""
    from stages.pretrained import hub

    hub.go_online()
    weights = {f"{part}/*.safetensors": re.compile(rf"{part}/{hub.WEIGHTS.pattern}") for part in hub.BASE_WEIGHTS}
    needed = {
        "model_index.json (Stable Diffusion's layout)": re.compile(r"model_index\.json"),
        "tokenizer": re.compile(r"tokenizer/(tokenizer|vocab)\.json"),
        **{f"{part}/config.json": re.compile(rf"{part}/config\.json") for part in hub.BASE_WEIGHTS},
        **weights,
    }
    hub.fetch_repository(repository, revision, downloads, hub.of_base, needed, pinned)
    publish(downloads, target)
    index = target / "model_index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    content |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    index.unlink()  # it may be one file with the download, whose hash must go on holding
    index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    check_base_opens(target, repository)


def check_base_opens(folder: Path, repository: str) -> None:
    """Open every component with its library's own loader. Raises UserError naming the one that does not open."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from diffusers.utils import logging as diffusers_logging
    from transformers import CLIPTextModel, CLIPTokenizer
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    loaders = {
        "scheduler": DDPMScheduler, "text_encoder": CLIPTextModel, "tokenizer": CLIPTokenizer,
        "unet": UNet2DConditionModel, "vae": AutoencoderKL,
    }  # fmt: skip
    for name, loader in loaders.items():
        weights = {"use_safetensors": True} if name in ("text_encoder", "unet", "vae") else {}
        try:
            loader.from_pretrained(folder / name, local_files_only=True, **weights)
        except Exception as error:  # whatever a library raises for a file that it cannot use
            raise UserError(f"{repository}: {name} does not open: {' '.join(str(error).split())[:200]}") from None


def fetch_clip(repository: str, revision: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch a CLIP in transformers' layout; none where the repository's name is empty."""
    target.mkdir(parents=True)
    if not repository:
        return
    from stages.pretrained import hub

    hub.go_online()
    needed = {"config.json": re.compile(r"config\.json"), "model.safetensors": hub.WEIGHTS}
    hub.fetch_repository(repository, revision, downloads, hub.of_clip, needed, pinned)
    publish(downloads, target)


def fetch_detector(url: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch ultralytics' YOLOv8n checkpoint and keep its tensors alone, for a detector of one class.

    The checkpoint is a pickle: its hash is checked first, then ultralytics' own restricted unpickler opens it. Tensors
    that belong to the 80 classes have another shape with one class; they start from a fixed random state.
    """
    from stages.pretrained import hub

    hub.go_online()
    name = url.rsplit("/", 1)[1]
    checkpoint = hub.fetch_url(url, _pinned_hash("detector", name, pinned), downloads)
    import torch

    from stages.common.detector import WEIGHTS, new_model

    torch.manual_seed(0)
    model = new_model()
    from ultralytics.nn.tasks import torch_safe_load

    try:
        content = torch_safe_load(checkpoint, safe_only=True)[0]
        state = (content.get("ema") or content["model"]).float().state_dict()
    except Exception as error:  # pickles fail in many ways
        raise UserError(f"{url}: no ultralytics checkpoint: {' '.join(str(error).split())[:200]}") from None
    own = model.state_dict()
    fitting = {key: tensor for key, tensor in state.items() if key in own and own[key].shape == tensor.shape}
    if len(fitting) < 0.8 * len(own):
        raise UserError(f"{url}: no YOLOv8n: {len(fitting)} of its {len(own)} tensors fit")
    model.load_state_dict(own | fitting)
    from safetensors.torch import save_file

    target.mkdir(parents=True)
    tensors = {key: tensor.contiguous() for key, tensor in sorted(model.state_dict().items())}
    save_file(tensors, target / WEIGHTS, metadata={"names": "logo"})


def fetch_reader(url: str, text_detector: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch EasyOCR's recogniser, and its text detector where one is named, out of their archives.

    EasyOCR unpickles them unrestricted, so they must be files of nothing but tensors.
    """
    from stages.pretrained import hub

    hub.go_online()
    wanted = {RECOGNISER: url, **({TEXT_DETECTOR: text_detector} if text_detector else {})}
    target.mkdir(parents=True)
    for name, address in wanted.items():
        file = hub.fetch_archive_member(address, name, _pinned_hash("reader", name, pinned), downloads)
        check_only_tensors(file)
        shutil.copy2(file, target / name)


def _pinned_hash(part: str, name: str, pinned: Mapping[str, str]) -> str:
    if name not in pinned:
        raise UserError(f"pretrained.hashes has no {part}/{name}: what a URL gives is not used without a pinned hash")
    return pinned[name]


def check_only_tensors(path: Path) -> None:
    """Raise UserError where a PyTorch file holds anything but tensors, or cannot be read."""
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickles fail in many ways
        raise UserError(
            f"{path.name}: holds more than tensors, or is no weights file: {str(error).splitlines()[0]}"
        ) from None


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    pretrained(load_params().pretrained)


if __name__ == "__main__":
    main()
