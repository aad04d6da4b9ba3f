"""What the samplers of `sample.attend_and_excite` and `sample.composition` do to the scores, and what they cost.

Draws all prompts and seeds with one checkpoint (by default LoRA's best) under each variant of `params.sample`, scores
the pictures with the stage's own judges, and prints a table: the paper's scores, each variant's difference to the first
one (paired, over the same prompts and seeds, with its interval), and the time a picture takes as a ratio to the first
one's: on a CPU the processor's time, which others on the machine change little, on a GPU the clock's. It runs at the
top of a repository in which `dvc repro` has run.

    python -m benchmarks.samplers
    python -m benchmarks.samplers --method dreambooth --epoch 18 --rounds 2
    python -m benchmarks.samplers --variant '{}' --variant '{"composition": {"mode": "parts", "token_weight": 4.0}}'
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.common.command import offline
from stages.common.params import METHODS, Params, load_params
from stages.common.tables import Row

if TYPE_CHECKING:
    from stages.common.weights import StaticWeights

Changes = dict[str, Any]
COLUMNS = ("mean_od", "mean_ocr", "mean", "joint_success", "colour_fidelity", "clip_prompt_accuracy", "memorised_share")


def excite(step_size: float, **changes: Any) -> Changes:
    """Attend-and-Excite of that step size."""
    return {"attend_and_excite": {"step_size": step_size, **changes}}


def compose(mode: str, plain_weight: float, token_weight: float) -> Changes:
    """Composed sampling with these weights."""
    return {"composition": {"mode": mode, "plain_weight": plain_weight, "token_weight": token_weight}}


ONCE: Changes = {"refine_at": [], "thresholds": []}
"""No refinement: a single move a step, which costs about a quarter more than none."""
VARIANTS: list[Changes] = [
    {},
    {"guidance_scale": 4.0},  # what the same strength does without any of them
    excite(20.0),
    excite(20.0, **ONCE),
    excite(200.0, **ONCE),
    excite(200.0, sharpness=30.0, attention_share=0.5, **ONCE),
    excite(1000.0, sharpness=30.0, attention_share=0.5, **ONCE),
    excite(200.0, sharpness=30.0, attention_share=0.5, max_refinements=5),
    compose("parts", 2.0, 2.0),
    compose("parts", 1.0, 3.0),
    compose("parts", 2.0, 4.0),
    compose("token", 2.0, 1.0),
    compose("token", 2.0, 2.0),
    compose("token", 2.0, 4.0),
    compose("token", 2.0, 6.0),
    compose("token", 3.0, 6.0),
    compose("token", 4.0, 8.0),
]


@click.command()
@click.option("--method", type=click.Choice(METHODS), default="lora", show_default=True)
@click.option("--epoch", type=int, default=None, help="[default: the best, by metrics/score]")
@click.option("--rounds", default=1, show_default=True, help="of all variants in turn; each one's fastest counts")
@click.option("--variant", "given", multiple=True, help="JSON of changes to params.sample, in place of the list here")
def main(method: str, epoch: int | None, rounds: int, given: tuple[str, ...]) -> None:
    """Draw, score, and print a table."""
    from stages.generate.checkpoint import find_checkpoint
    from stages.score.__main__ import PATHS, load_judges
    from stages.score.columns import score_rows

    offline()
    params = settled(load_params())
    checkpoint = find_checkpoint(method, epoch, Path("models"), Path("metrics/score"))
    if checkpoint.folder is None:
        raise SystemExit("epoch 0 is the untuned base: give --epoch")
    variants = [json.loads(text) for text in given] or VARIANTS
    tuned = prepare(method, checkpoint.folder, params)
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(number) for number in range(len(variants))]
        seconds = [float("inf")] * len(variants)
        for _ in range(rounds):
            for number, changes in enumerate(variants):
                took = draw_pictures(tuned, changed(params, changes), method, checkpoint.epoch, folders[number])
                seconds[number] = min(seconds[number], took)
        judges, manifest = load_judges(params.score, PATHS), rows_of(method, params, checkpoint.epoch)
        scored = [score_rows(manifest, folder, params, judges) for folder in folders]
    print_table(list(zip(variants, scored, seconds, strict=True)), params)


def settled(params: Params) -> Params:
    """The parameters, `auto` replaced with the precision that the stage takes on this machine."""
    from stages.common.machine import prepare_machine, resolve_precision

    precision = resolve_precision(params.sample.precision, prepare_machine(), "sample.precision")
    return params.changed("sample", precision=precision)


def changed(params: Params, changes: Changes) -> Params:
    """The parameters with other values in `sample`, checked; what is nested is changed value by value."""
    before = params.sample.model_dump()
    values = {name: before[name] | value if isinstance(value, dict) else value for name, value in changes.items()}
    return params.model_copy(update={"sample": type(params.sample).model_validate(before | values)})


def prepare(method: str, checkpoint: Path, params: Params) -> tuple[StaticWeights, int]:
    """The base with the checkpoint in it, in sample's precision, and the number of its token's vectors."""
    import torch

    from stages.common.diffusion import load_base
    from stages.common.machine import DTYPES, prepare_machine
    from stages.common.weights import StaticWeights

    base = load_base(Path("models/pretrained/base"), prepare_machine())
    weights = StaticWeights(base, params.brand.token)
    weights.prepare(method, checkpoint)
    base.unet.to(getattr(torch, DTYPES[params.sample.precision]))
    if params.sample.precision == "bf16":
        base.vae.to(torch.bfloat16)
    if params.sample.channels_last:
        base.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return weights, weights.load(method, checkpoint)


def rows_of(method: str, params: Params, epoch: int) -> list[Row]:
    """The stage's manifest of one checkpoint."""
    from stages.sample.manifest import manifest_rows

    return manifest_rows(method, params, [epoch])


def draw_pictures(tuned: tuple[StaticWeights, int], params: Params, method: str, epoch: int, folder: Path) -> float:
    """Draw all pictures of the checkpoint into a folder as the stage does; return the seconds that it took.

    A first batch, which is not timed, warms up.
    """
    from stages.common.steering import Steerer
    from stages.sample.drawing import batches, draw_epoch

    weights, vectors = tuned
    steerer = Steerer.of(weights.base, weights.base.folder, params.sample, params.brand.token)
    kept = folder / f"epoch-{epoch:02d}"
    listed = list(batches(rows_of(method, params, epoch), epoch, params.sample.batch_size, folder / "nothing"))
    arguments = (weights, vectors, weights.base.unet, steerer, params)
    with tempfile.TemporaryDirectory() as warm:
        draw_epoch(*arguments, listed[:1], Path(warm), lambda _: None)
    clock = time.process_time if weights.base.device.type == "cpu" else time.perf_counter
    before = clock()
    draw_epoch(*arguments, listed, kept, lambda _: None)
    return clock() - before


def print_table(results: list[tuple[Changes, list[Row], float]], params: Params) -> None:
    """A line for each variant."""
    from stages.common.checkpoints import compare, summarise

    options: dict[str, Any] = {
        "confidence": params.score.confidence_level,
        "samples": params.score.bootstrap_samples,
        "seed": params.seed,
    }
    _, first, first_seconds = results[0]
    heads = ["variant of params.sample", *COLUMNS, "mean, less the first's", "time a picture, ratio"]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for changes, rows, seconds in results:
        summary = summarise(rows, **options)
        cells = [f"{summary[name]:.2f}" if name in summary else "" for name in COLUMNS]
        less = compare(rows, first, **options) if rows is not first else None
        cells.append(f"{less.mean:+.2f} ({less.low:+.2f} to {less.high:+.2f})" if less else "")
        print("| " + " | ".join([described(changes), *cells, f"{seconds / first_seconds:.2f}"]) + " |")


def described(changes: Changes) -> str:
    """The changes as `name.key value`, params.yaml's own where there is none."""
    flat = [
        f"{name}.{key} {json.dumps(inner)}"
        for name, value in changes.items()
        for key, inner in (value.items() if isinstance(value, dict) else [("", value)])
    ]
    return ", ".join(text.replace(". ", " ").replace('"', "") for text in flat) or "params.yaml"


if __name__ == "__main__":
    main()
