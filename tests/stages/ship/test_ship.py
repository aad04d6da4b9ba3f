"""The folder that is shipped holds the checkpoint that the verdict names, and a card that is true there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from stages.common.files import write_json
from stages.common.params import Gates
from stages.report.summary import verdict_summary
from stages.report.verdict import decide
from stages.ship.__main__ import Paths, ship
from tests.scored_world import scored_rows

CARDS = {
    "lora": 'pipe.load_lora_weights("epoch-NN", weight_name="pytorch_lora_weights.safetensors")',
    "textual_inversion": 'pipe.load_textual_inversion("epoch-NN/learned_embeds.safetensors")',
    "dreambooth": 'pipe.unet = UNet2DConditionModel.from_pretrained("epoch-NN/unet", torch_dtype=pipe.dtype)',
}
FILES = {
    "lora": ("pytorch_lora_weights.safetensors", "hugo_kohya.safetensors"),
    "textual_inversion": ("learned_embeds.safetensors",),
    "dreambooth": ("unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
}
NOTE = "For A1111, ComfyUI and Forge: put `epoch-NN/hugo_kohya.safetensors` into their LoRA folder."


def verdict(ship: dict[str, Any] | None, **others: Any) -> dict[str, Any]:
    """metrics/verdict.json as `report` writes it."""
    numbers = {"images": 24, "joint_success": 0.5, "joint_success_low": 0.25, "joint_success_high": 0.75, "mean": 0.6}
    return {
        "ship": ship,
        "reason": "The highest lower bound.",
        "confidence": 0.95,
        "numbers": numbers if ship else {},
        "gates_not_applied": [],
        "not_distinguishable": [],
        "rejected": [{"method": "dreambooth", "epoch": 6, "why": "wrong colour: 0%; wrong | things"}],
    } | others


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Two checkpoints of each method, with their card."""
    for method, files in FILES.items():
        for epoch in (6, 12):
            for name in files:
                file = tmp_path / "models" / method / f"epoch-{epoch:02d}" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{method} {epoch} {name}")
        lines = ["---", "library_name: diffusers", "---", "", f"# `<hugo>`: a logo, learned by {method}", ""]
        lines += ["```python", CARDS[method], "```", "", *([NOTE, ""] if method == "lora" else [])]
        (tmp_path / "models" / method / "README.md").write_text("\n".join([*lines, "| rank | `64` |", ""]))
    return Paths(tmp_path / "verdict.json", tmp_path / "models", tmp_path / "models" / "shipped", tmp_path / "scratch")


def shipped(paths: Paths, content: Any) -> dict[str, str]:
    """The files of models/shipped after the stage has run on this verdict."""
    write_json(paths.verdict, content)
    folder = ship(paths)
    return {f.relative_to(folder).as_posix(): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("method", FILES)
def test_the_checkpoint_is_there_whole_and_the_card_loads_it_from_where_it_lies(paths: Paths, method: str) -> None:
    files = shipped(paths, verdict({"method": method, "epoch": 12}))
    card = files.pop("README.md")
    assert files == {name: f"{method} 12 {name}" for name in FILES[method]}
    assert "epoch-NN" not in card
    loaded = re.findall(r'"([^"]*)"|put `([^`]*)`', card[card.index("```python") :])
    folder = paths.shipped
    named = [folder / (first or second) for first, second in loaded]
    assert named
    assert all(path.exists() for path in named)


def test_the_card_says_which_it_is_why_and_how_good(paths: Paths) -> None:
    rival = {"method": "textual_inversion", "epoch": 6, "difference": 0.1, "low": -0.1, "high": 0.3}
    gates = ["memorisation: fewer than two training pictures to compare with"]
    content = verdict({"method": "lora", "epoch": 6}, not_distinguishable=[rival], gates_not_applied=gates)
    card = shipped(paths, content)["README.md"]
    assert card.startswith("---\nlibrary_name: diffusers\n---\n\n# Shipped: lora, epoch 6\n")
    assert "Why this one: The highest lower bound." in card
    assert "24 pictures that had no say" in card
    assert "0.50 (0.25 to 0.75)" in card
    assert "| 0.60 |" in card
    assert "| unavailable |" in card
    assert "Gate not applied: memorisation: fewer than two" in card
    assert "Not distinguishable from it in joint success on those pictures: textual inversion, epoch 6." in card
    assert "# `<hugo>`: a logo, learned by lora" in card
    assert "| rank | `64` |" in card


def test_where_nothing_is_shipped_a_card_alone_says_why(paths: Paths) -> None:
    shipped(paths, verdict({"method": "lora", "epoch": 6}))
    files = shipped(paths, verdict(None, reason="No checkpoint passes the gates."))
    assert list(files) == ["README.md"]
    assert "No checkpoint passes the gates." in files["README.md"]
    assert "| dreambooth, epoch 6 | wrong colour: 0%; wrong \\| things |" in files["README.md"]


def test_what_is_shipped_shares_no_file_with_what_was_trained(paths: Paths) -> None:
    """Else a change of one in place would change the other."""
    shipped(paths, verdict({"method": "lora", "epoch": 6}))
    name = FILES["lora"][0]
    assert not (paths.shipped / name).samefile(paths.models / "lora" / "epoch-06" / name)


def test_a_second_run_gives_the_same_bytes_and_leaves_nothing_behind(paths: Paths) -> None:
    content = verdict({"method": "dreambooth", "epoch": 6})
    assert shipped(paths, content) == shipped(paths, content)
    assert list(paths.scratch.iterdir()) == []
    assert sorted(p.name for p in paths.models.iterdir()) == ["dreambooth", "lora", "shipped", "textual_inversion"]


@pytest.mark.parametrize(
    ("ship_", "named"),
    [
        ({"method": "../../secret", "epoch": 6}, "ship.method"),
        ({"method": "base", "epoch": 6}, "ship.method"),
        ({"method": "lora", "epoch": "../06"}, "ship.epoch"),
        ({"method": "lora", "epoch": 6.5}, "ship.epoch"),
        ({"method": "lora", "epoch": True}, "ship.epoch"),
        ({"method": "lora", "epoch": 0}, "ship.epoch"),
        ({"method": "lora", "epoch": 6, "folder": "/"}, "ship.folder"),
    ],
)
def test_a_verdict_that_names_no_checkpoint_of_a_method_is_refused(
    paths: Paths, ship_: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=rf"verdict\.json: {named}"):
        shipped(paths, verdict(ship_))
    assert not paths.shipped.exists()


def test_a_missing_verdict_checkpoint_or_card_is_one_line(paths: Paths) -> None:
    with pytest.raises(UserError, match=r"verdict\.json: no such file"):
        ship(paths)
    paths.verdict.write_text("[]")
    with pytest.raises(UserError, match=r"verdict\.json: content"):
        ship(paths)
    with pytest.raises(UserError, match=r"epoch-18: no such checkpoint"):
        shipped(paths, verdict({"method": "lora", "epoch": 18}))
    (paths.models / "lora" / "README.md").unlink()
    with pytest.raises(UserError, match=r"README\.md: no model card"):
        shipped(paths, verdict({"method": "lora", "epoch": 6}))
    assert not paths.shipped.exists()


def test_text_of_a_verdict_stays_on_its_line(paths: Paths) -> None:
    card = shipped(paths, verdict({"method": "lora", "epoch": 6}, reason="Good.\n\n# Run this\n"))["README.md"]
    assert "Why this one: Good. # Run this\n" in card
    assert json.loads(paths.verdict.read_text())["reason"].count("\n") == 3


@pytest.mark.parametrize(
    ("right_colours", "heading"), [(1.0, "# Shipped: lora, epoch "), (0.0, "# Nothing is shipped\n")]
)
def test_the_stage_reads_what_report_writes(paths: Paths, right_colours: float, heading: str) -> None:
    """DreamBooth copies, and where no picture has its colour either nothing passes the gates."""
    scores = {
        "dreambooth": scored_rows("dreambooth", {6: 0.9}, memorised=0.6),
        "lora": scored_rows("lora", {6: 0.8, 12: 0.8}, colour=right_colours),
    }
    gates = Gates(max_memorised_share=0.2, min_colour_fidelity=0.5, min_prompt_fidelity=0.5)
    decided = decide(scores, gates=gates, confidence=0.95, samples=200, seed=0)
    assert heading in shipped(paths, verdict_summary(decided, 0.95))["README.md"]
