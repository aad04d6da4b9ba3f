"""Fine-tune the base on the captioned pictures, by one of three methods.

Reads data/captioned (pictures and captions) and models/pretrained/base. Writes models/<method>/epoch-NN, in the formats
that diffusers, A1111 and ComfyUI load, with a model card; and metrics/finetune/<method>, the loss of each epoch. A
killed run goes on from its last saved epoch and ends with the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.common.files import write_file, write_json
from stages.common.params import Params
from stages.common.scratch import (
    SCRATCH_ROOT,
    digest,
    file_digest,
    publish,
    remove_partials,
    scratch_folder,
)

if TYPE_CHECKING:
    from stages.common.diffusion import Base
    from stages.finetune.loop import Processes
    from stages.finetune.method import Method

METHODS = ("dreambooth", "textual_inversion", "lora")
COMMON = Path(__file__).parents[1] / "common"
CODE = [Path(__file__).parent, *(COMMON / f"{name}.py" for name in ("diffusion", "machine", "weights"))]


def finetune(
    method: str,
    params: Params,
    data: Path = Path("data/captioned"),
    base: Path = Path("models/pretrained/base"),
    output: Path | None = None,
    metrics: Path | None = None,
    scratch: Path = SCRATCH_ROOT,
) -> Path:
    """Fine-tune by one method and return the folder of its checkpoints, one every `save_every` epochs.

    Raises UserError for a missing base or picture, a prompt that makes no sense, a loss that isn't finite, or too
    little memory; SystemExit(143) where SIGTERM stopped it, its state saved.
    """
    output = output or Path("models") / method
    metrics = metrics or Path("metrics/finetune") / method
    from stages.common.machine import environment, explain_out_of_memory, prepare_machine, resolve_precision

    device = prepare_machine()
    from stages.common.diffusion import require_base
    from stages.finetune.pictures import read_rows

    read_rows(data)
    require_base(base)
    processes = join_processes(device)
    precision = resolve_precision(params.training(method).precision, device, f"finetune.{method}.precision")
    params = params.with_training(method, precision=precision)
    settings = params.training(method)
    about = {
        "method": method,
        "precision": precision,
        "params_digest": digest(decisive_params(method, params)),
        "data_digest": digest(data),
        "base_revision": params.pretrained.base_revision,
    }
    key = digest(about, base, *CODE, environment())
    folder = scratch_folder(f"finetune-{method}", key, scratch)
    if finished(folder):
        print(f"finetune {method}: this very run has finished before; its result is published again", file=sys.stderr)
    else:
        with explain_out_of_memory(
            f"finetune.{method}.batch_size = {settings.batch_size} (and raise gradient_accumulation by as much: "
            "the result stays the same), or resolution"
        ):
            run(method, params, data, base, folder, about, processes, device)
    if processes.main:
        remove_partials([output, metrics])
        publish(folder / "model", output)
        publish(folder / "metrics", metrics)
    processes.wait()
    return output


def decisive_params(method: str, params: Params) -> dict[str, Any]:
    """The parameters that decide the result, and no others: changing another one must not train again."""
    return {
        "seed": params.seed,
        "resolution": params.resolution,
        "token": params.brand.token,
        "class_caption": params.caption.class_caption if method == "dreambooth" else None,
        "settings": params.training(method).model_dump(),
    }


def join_processes(device: Any) -> Processes:
    """This process's place among those that `accelerate launch` started, if it did."""
    from stages.finetune.loop import Processes

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device.type == "cpu")
    return Processes(accelerator.num_processes, accelerator.process_index, accelerator)


def run(
    name: str,
    params: Params,
    data: Path,
    base_folder: Path,
    folder: Path,
    about: dict[str, str],
    processes: Processes,
    device: Any,
) -> None:
    """Everything between the inputs and a finished scratch folder."""
    from stages.common.diffusion import load_base, too_long
    from stages.finetune.loop import train
    from stages.finetune.pictures import logo_coverage, read_pictures, read_rows, weigh_logos

    rows = read_rows(data)
    base = load_base(base_folder, device)
    pictures = read_pictures(rows, data, base, params.resolution)
    coverage = logo_coverage(rows, pictures.mask, base.latent_scale)
    settings = params.training(name)
    pictures.mask = weigh_logos(rows, pictures.mask, base.latent_scale, settings.logo_weight)
    method = method_class(name)(base, params)
    captions = method.captions(rows)
    cut = too_long(base, [method.prompt(caption) for caption in captions])
    if processes.main:
        if cut:
            print(f"warning: {len(cut)} captions are longer than the text encoder reads: {cut[0]!r}", file=sys.stderr)
        report_coverage(coverage)
    class_pictures = method.draw_class_pictures()
    losses = train(method, pictures, captions, class_pictures, folder, about, processes)
    if processes.main:
        card = model_card(method, about, len(rows), losses)
        (folder / "card.partial").write_text(card, encoding="utf-8")  # not in model/: a kill must leave no part there
        (folder / "card.partial").replace(folder / "model" / "README.md")
        write_metrics(folder / "metrics", losses, coverage)
        finish(folder)
    processes.wait()


def method_class(name: str) -> Callable[[Base, Params], Method]:
    """The class of a method."""
    from stages.finetune.dreambooth import DreamBooth
    from stages.finetune.lora import LoRA
    from stages.finetune.textual_inversion import TextualInversion

    classes: dict[str, Callable[[Base, Params], Method]] = {
        "dreambooth": DreamBooth,
        "textual_inversion": TextualInversion,
        "lora": LoRA,
    }
    return classes[name]


def report_coverage(coverage: list[dict[str, Any]]) -> None:
    """Say of which pictures the loss doesn't see the whole logo, because a transparent margin cuts into it."""
    lost = [row for row in coverage if row["logo_share_in_loss"] < 0.9]
    for row in sorted(lost, key=lambda row: row["logo_share_in_loss"])[:10]:
        share = f"{row['logo_share_in_loss']:.0%}"
        print(f"warning: {row['file_name']}: the loss sees {share} of the logo", file=sys.stderr)
    if lost:
        cut = f"{len(lost)} of {len(coverage)}"
        print(f"warning: a transparent margin cuts into the logo of {cut} pictures", file=sys.stderr)


def write_metrics(folder: Path, losses: list[float], coverage: list[dict[str, Any]]) -> None:
    """Write the loss curve (by dvclive, step = epoch) and the mask's coverage of the logos: no times in any of it."""
    from dvclive import Live

    shutil.rmtree(folder, ignore_errors=True)
    live = Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None, monitor_system=False)
    for epoch, loss in enumerate(losses, start=1):
        live.step = epoch
        live.log_metric("loss", loss, timestamp=False)
    live.end()
    (folder / "metrics.json").unlink(missing_ok=True)
    shares = [row["logo_share_in_loss"] for row in coverage]
    summary = {"pictures_with_box": len(shares), "least_logo_share_in_loss": min(shares, default=None)}
    write_json(folder / "coverage.json", {**summary, "cut": [row for row in coverage if row["logo_share_in_loss"] < 1]})


def model_card(method: Method, about: dict[str, str], pictures: int, losses: list[float]) -> str:
    """The card that says what the checkpoints are, how they are loaded, and what made them."""
    name, token = about["method"], method.params.brand.token
    settings = method.settings.model_dump()
    lines = [
        "---",
        "library_name: diffusers",
        f"base_model: {method.params.pretrained.base}",
        f"tags: [text-to-image, {name.replace('_', '-')}, logo]",
        "---",
        "",
        f"# `{token}`: a logo, learned by {name.replace('_', ' ')}",
        "",
        f"Fine-tuned on {pictures} pictures for {settings['epochs']} epochs, saved every {settings['save_every']}.",
        f'Write `{token}` in a prompt where the logo shall be, as in "a mug with a {token} logo".',
        "",
        "```python",
        method.how_to_load(),
        "```",
        "",
        *method.notes(),
        "| | |",
        "|---|---|",
        *(f"| {key} | `{value}` |" for key, value in about.items()),
        *(f"| {key} | `{value}` |" for key, value in settings.items()),
        f"| loss, first and last epoch | {losses[0]:.5f}, {losses[-1]:.5f} |",
    ]
    return "\n".join(lines) + "\n"


def finish(folder: Path) -> None:
    """Note the digest of each file of the result, then drop the state that is no longer needed."""
    files = sorted(path for part in ("model", "metrics") for path in (folder / part).rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    write_file(folder / "finished.json", json.dumps(digests, indent=2).encode())
    for path in folder.glob("state.pt*"):
        path.unlink()


def finished(folder: Path) -> bool:
    """Whether this very run has finished before, and its files are still what they were then."""
    try:
        digests: dict[str, str] = json.loads((folder / "finished.json").read_text(encoding="utf-8"))
        return all(file_digest(folder / name) == known for name, known in digests.items())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
