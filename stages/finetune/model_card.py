"""The card that says what a method's checkpoints are, how they are loaded, and what made them."""

from __future__ import annotations

from stages.finetune.method import Method


def model_card(method: Method, about: dict[str, str], pictures: int, losses: list[float]) -> str:
    """The card that says what the checkpoints are, how they are loaded, and what made them."""
    name, token = about["method"], method.params.brand.token
    settings, trained = method.settings.model_dump(), f"{len(losses)} epochs"
    if len(losses) < settings["epochs"]:
        trained += f" of {settings['epochs']}"
    lines = [
        "---",
        "library_name: diffusers",
        f"base_model: {method.params.pretrained.base}",
        f"tags: [text-to-image, {name.replace('_', '-')}, logo]",
        "---",
        "",
        f"# `{token}`: a logo, learned by {name.replace('_', ' ')}",
        "",
        f"Fine-tuned on {pictures} pictures for {trained}, saved every {settings['save_every']}.",
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
