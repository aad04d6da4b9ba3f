"""Draw the prompts with every checkpoint of one method, or with the untuned base.

Reads   models/<method>/epoch-NN, models/pretrained/base and, for the sheet, data/samples/base.
Writes  data/samples/<method>/epoch-NN/pP-sS.png (prompt P, seed S), manifest.jsonl beside them, and
        metrics/samples/<method>.png, a contact sheet of epoch x prompt (the paper's Figure 10).

The base is loaded once; checkpoints are put into it in place. A picture depends on checkpoint, prompt and seed alone:
the same seeds are drawn for every method, checkpoint and prompt. The untuned base is epoch 0 of all methods:
`--method base` draws it for them, once, into data/samples/base/epoch-00. A method that is left out has no pictures, and
a sheet of the untuned base alone.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.files import replacing
from stages.common.params import METHODS, UNTUNED, Params, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, link_or_copy, publish, remove_partials, scratch_folder
from stages.common.tables import Row, read_table, write_table


@dataclass(frozen=True)
class Paths:
    """The stage's files and folders."""

    models: Path
    samples: Path
    sheet: Path
    untuned: Path = Path("data/samples") / UNTUNED
    base: Path = Path("models/pretrained/base")
    scratch: Path = SCRATCH_ROOT

    @classmethod
    def of(cls, method: str) -> Paths:
        """Those of a method, or of the untuned base."""
        return cls(Path("models") / method, Path("data/samples") / method, Path("metrics/samples") / f"{method}.png")


def sample(method: str, params: Params, paths: Paths | None = None) -> Path:
    """Draw every prompt and seed with each checkpoint of a method, or with the untuned base; return the folder.

    A method's sheet begins with the untuned base's pictures. What was drawn before is not drawn again: a killed run
    goes on where it was, and one that asks for more pictures or has more checkpoints adds to those that are there.
    Raises UserError where base, checkpoints or the untuned base's pictures are missing, or a prompt is longer than the
    text encoder reads.
    """
    from stages.common.diffusion import require_base
    from stages.common.machine import environment, explain_out_of_memory, prepare_machine, resolve_precision
    from stages.sample.drawing import draw_all
    from stages.sample.manifest import find_checkpoints, manifest_rows
    from stages.sample.sheet import contact_sheet

    paths = paths or Paths.of(method)
    device = prepare_machine()
    precision = resolve_precision(params.sample.precision, device, "sample.precision")
    params = params.changed("sample", precision=precision)
    require_base(paths.base)
    checkpoints = {} if method == UNTUNED else find_checkpoints(paths.models)
    epochs = [0] if method == UNTUNED else list(checkpoints)
    first = [] if method == UNTUNED else read_table(paths.untuned / "manifest.jsonl")
    rows = manifest_rows(method, params, epochs)
    drawing = params.sample.model_dump(exclude={"images_per_prompt"})
    decisive = {"seed": params.seed, "resolution": params.resolution, "token": params.brand.token, "sample": drawing}
    shared = digest(method, decisive, paths.base, *CODE, environment())
    kept = {epoch: scratch_folder("sample", digest(shared, checkpoints.get(epoch)), paths.scratch) for epoch in epochs}
    if rows:
        with explain_out_of_memory(f"sample.batch_size = {params.sample.batch_size}"):
            draw_all(method, params, checkpoints, paths.base, rows, kept, device)
    else:
        click.echo(f"{method}: no checkpoints, it is left out of the training (epochs = 0)")
    publish_files(rows, kept, paths.samples)
    if method != UNTUNED:
        files = {row["file"]: paths.untuned / row["file"] for row in first}
        files |= {row["file"]: paths.samples / row["file"] for row in rows}
        with replacing(paths.sheet) as file:
            contact_sheet([*first, *rows], files).save(file, "PNG")
    return paths.samples


def publish_files(rows: list[Row], kept: dict[int, Path], target: Path) -> None:
    """Publish the pictures of the rows, and the rows as their manifest, in one rename."""
    remove_partials([target])
    partial = target.with_name(f".{target.name}.{os.getpid()}.files.partial")
    for row in rows:
        file = partial / row["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(kept[row["epoch"]] / file.name, file)
    write_table(partial / "manifest.jsonl", rows)
    publish(partial, target)
    shutil.rmtree(partial)


PACKAGE = Path(__file__).parent
COMMON = PACKAGE.parent / "common"
STEERING = ("attend_and_excite", "composition", "prompt_words", "steering")
DECISIVE = ("diffusion", "machine", "tokens", "weights", *STEERING)
CODE = [*sorted(PACKAGE.glob("*.py")), *(COMMON / f"{name}.py" for name in DECISIVE)]
"""The files whose change makes pictures of an earlier run stale."""


@click.command()
@click.option("--method", type=click.Choice([UNTUNED, *METHODS]), required=True, help="base: untuned, epoch 0 of all")
def main(method: str) -> None:
    """Draw the prompts with every checkpoint of one method, or with the untuned base."""

    @stage_main
    def run() -> None:
        sample(method, load_params())

    run()


if __name__ == "__main__":
    main()
