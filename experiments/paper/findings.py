"""The paper's findings (5, 7), each answered by what the experiments measured: yes, no or not decided.

A finding is put as one or more comparisons of which the first side is expected to be higher. "yes": all are; "no": one
is lower; "not decided": some cannot be told apart, or what is needed was not run. No bare mean decides. Rates are those
of one's own grid, so findings speak of their places in it: highest, lowest, upper and lower half.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments.leaderboard import number, paper_parameters
from experiments.paper.comparisons import (
    COLOUR,
    COPIED,
    DETECTED,
    MEAN,
    OCR,
    OD,
    PROMPT,
    Checkpoint,
    Difference,
    Scores,
    choose,
    difference,
    onset_of_overfitting,
)
from experiments.paper.names import in_lower_half, in_upper_half, model_name, pair_name, place, values_of
from experiments.results import Experiment
from stages.common.params import METHODS

Decision = Literal["yes", "no", "not decided"]
Models = Sequence[Experiment]
PAPER_RANK = 16
"""The rank that wins in the paper (5.3)."""


@dataclass(frozen=True)
class Answer:
    """A finding of the paper, where it stands there, whether it is seen, and the numbers that say so."""

    finding: str
    source: str
    decision: Decision
    why: str


def decide(differences: Sequence[Difference]) -> Decision:
    """What comparisons say of which each expects "higher"."""
    words = [found.word for found in differences]
    if "lower" in words:
        return "no"
    return "yes" if words and all(word == "higher" for word in words) else "not decided"


def answer(finding: str, source: str, differences: Sequence[Difference], about: str = "") -> Answer:
    """The answer that comparisons give."""
    texts = [f"{found.text}: {found.word}" if found.word != "unavailable" else found.text for found in differences]
    return Answer(finding, source, decide(differences), "; ".join([*([about] if about else []), *texts]))


def answers(models: Mapping[str, Models], scores: Scores) -> list[Answer]:
    """The paper's findings in its order, answered by these models."""
    best: dict[str, Checkpoint | None] = {method: choose(models.get(method, ()), scores) for method in METHODS}
    return [
        *about_dreambooth(models.get("dreambooth", ()), best, scores),
        *about_textual_inversion(models.get("textual_inversion", ()), best, scores),
        *about_lora(models.get("lora", ()), best, scores),
        *about_overfitting(models.get("lora", ()), scores),
    ]


Best = Mapping[str, Checkpoint | None]


def about_dreambooth(models: Models, best: Best, scores: Scores) -> Iterator[Answer]:
    """5.1: it scores highest, and copies; its middle rate and its middle checkpoints are the better ones."""
    mine, lora, inversion = best["dreambooth"], best["lora"], best["textual_inversion"]
    against = [difference(mine, other, MEAN, scores) for other in (lora, inversion)]
    yield answer("DreamBooth scores highest", "5, Table 2", against)
    yield answer(
        "DreamBooth draws the logo more consistently than LoRA", "5", [difference(mine, lora, DETECTED, scores)]
    )
    yield answer("DreamBooth copies its training pictures", "5.1", [difference(mine, lora, COPIED, scores)])
    yield answer(
        "DreamBooth draws things in the training pictures' colour, LoRA in the one asked for",
        "5.1",
        [difference(lora, mine, COLOUR, scores)],
    )
    rates = values_of(models, "learning_rate")
    middle = [model for model in models if model.parameters["learning_rate"] in rates[1:-1]]
    ends = [[m for m in models if m.parameters["learning_rate"] == rate] for rate in (*rates[:1], *rates[-1:])]
    yield answer(
        "DreamBooth: a middle rate is better than the lowest and the highest",
        "Table 2",
        [better(middle, end, scores) for end in ends] if len(rates) > 2 else [few("rates")],
        about_best(mine, models),
    )
    lowest = [model for model in models if model.parameters["learning_rate"] in rates[:1]]
    last = [Checkpoint(model, model.last_epoch) for model in lowest[:1]]
    earlier = choose(lowest[:1], scores, lambda epoch: epoch < last[0].epoch)
    for words, measure in (("scores higher", MEAN), ("has the colours asked for more often", COLOUR)):
        yield answer(
            f"DreamBooth: a middle checkpoint of the lowest rate {words} than its last",
            "5.1, Figure 6",
            [difference(earlier, last[0] if last else None, measure, scores)],
        )


def about_textual_inversion(models: Models, best: Best, scores: Scores) -> Iterator[Answer]:
    """5.2: it converges at its highest rate alone, and gets the idea of the logo without its letters."""
    mine, rates = best["textual_inversion"], values_of(models, "learning_rate")
    highest = [model for model in models if model.parameters["learning_rate"] in rates[-1:]]
    others = [model for model in models if model not in highest]
    top = choose(highest, scores)
    yield answer(
        "Textual inversion converges at its highest rate alone",
        "5.2",
        [difference(top, untuned(top), MEAN, scores), better(highest, others, scores) if others else few("rates")],
        about_best(mine, models),
    )
    yield answer(
        "Textual inversion gets the idea of the logo",
        "5.2, Figure 7",
        [difference(mine, untuned(mine), OD, scores)],
    )
    yield answer("... but not its letters", "5, 5.2", [difference(best["lora"], mine, OCR, scores)])


def about_lora(models: Models, best: Best, scores: Scores) -> Iterator[Answer]:
    """5.3, 7: it lies between the two, and generalises; which rates and which rank are best."""
    mine, dreambooth, inversion = best["lora"], best["dreambooth"], best["textual_inversion"]
    yield answer(
        "LoRA scores between DreamBooth and textual inversion",
        "Table 2, 7",
        [difference(dreambooth, mine, MEAN, scores), difference(mine, inversion, MEAN, scores)],
    )
    yield answer(
        "LoRA generalises: the thing asked for, more often than DreamBooth",
        "7",
        [difference(mine, dreambooth, PROMPT, scores)],
    )
    quick = high_text_encoder_low_unet(models)
    others = [model for model in models if model not in quick]
    yield answer(
        "LoRA: a high rate of the text encoder with a low one of the UNet is best",
        "5.3, Table 3",
        [better(quick, others, scores) if quick and others else few("rates")],
        about_best(mine, models),
    )
    fastest = choose(quick, scores)
    yield answer_at_first_checkpoint(fastest, scores)
    ranks = values_of(models, "rank")
    wanted = [PAPER_RANK] if PAPER_RANK in ranks else ranks[len(ranks) // 2 : len(ranks) // 2 + 1]
    winners = [model for model in models if model.parameters["rank"] in wanted]
    groups = [[model for model in models if model.parameters["rank"] == rank] for rank in ranks if rank not in wanted]
    yield answer(
        f"LoRA: rank {wanted[0] if wanted else PAPER_RANK} is better than every other rank",
        "5.3, Table 4",
        [better(winners, group, scores) for group in groups] or [few("ranks")],
    )


def about_overfitting(models: Models, scores: Scores) -> Iterator[Answer]:
    """5.3, Figures 9 to 11: after a sweet spot the score falls, sooner where the rank is low."""
    finished = [model for model in models if model.finished]
    chosen = choose(finished, scores)
    last = Checkpoint(chosen.experiment, chosen.experiment.last_epoch) if chosen else None
    if chosen and last and chosen.epoch == last.epoch:
        finding, why = "LoRA: after a sweet spot the score falls", f"{chosen} is the best and the last"
        yield Answer(finding, "5.3, Figures 9 and 10", "no", why)
    else:
        found = difference(chosen, last, MEAN, scores)
        yield answer("LoRA: after a sweet spot the score falls", "5.3, Figures 9 and 10", [found])
    yield low_ranks_overfit_sooner(finished, scores)


def low_ranks_overfit_sooner(finished: Models, scores: Scores) -> Answer:
    """Of each pair of rates of which two ranks or more were trained to the end: which overfits first (5.3, Figure 11).

    A pair speaks for the finding where its lowest rank overfits before its highest one, or alone, and against it the
    other way round. The answer is decided where all pairs that speak say the same.
    """
    finding, source = "LoRA: low ranks overfit sooner", "5.3, Figure 11"
    texts, sooner = [], []
    for name, group in itertools.groupby(sorted(finished, key=pair_and_rank), lambda m: pair_name(m.parameters)):
        ranks = list(group)
        low, high = ranks[0], ranks[-1]
        if low.parameters["rank"] == high.parameters["rank"]:
            continue
        epochs = [onset_of_overfitting(model, scores).epoch for model in (low, high)]
        shown = [
            f"rank {model.parameters['rank']} {f'from epoch {epoch} on' if epoch else 'not within its epochs'}"
            for model, epoch in zip((low, high), epochs, strict=True)
        ]
        texts.append(f"{name} overfits at {', at '.join(shown)}")
        if epochs[0] != epochs[1]:
            sooner.append((epochs[0] or float("inf")) < (epochs[1] or float("inf")))
    if not texts:
        return Answer(finding, source, "not decided", "no pair of rates had two ranks trained to their last epoch")
    agreed = sooner and len(set(sooner)) == 1
    decision: Decision = "not decided" if not agreed else "yes" if sooner[0] else "no"
    return Answer(finding, source, decision, "; ".join(texts))


def answer_at_first_checkpoint(best: Checkpoint | None, scores: Scores) -> Answer:
    """Whether a model's first saved checkpoint has learned, and is its best or not distinguishable from it (5.3)."""
    finding = "LoRA: with a high text encoder rate and a low UNet rate it converges by the first checkpoint"
    source = "5.3, Table 3 (epoch 3)"
    if best is None:
        return Answer(finding, source, "not decided", "not run")
    first = Checkpoint(best.experiment, best.experiment.epochs[0]["epoch"])
    learned = difference(first, untuned(first), MEAN, scores)
    texts = [f"{learned.text}: {learned.word}"]
    worse: Difference | None = None
    if best.epoch != first.epoch:
        worse = difference(first, best, MEAN, scores)
        texts.append(f"{worse.text}: {worse.word}")
    else:
        texts.append(f"{best} is its best")
    if worse and worse.word == "lower":
        decision: Decision = "no"
    else:
        decision = "yes" if learned.word == "higher" and not (worse and worse.word == "unavailable") else "not decided"
    return Answer(finding, source, decision, "; ".join(texts))


# --- Groups of models ----------------------------------------------------------------------------------------------


def better(first: Models, second: Models, scores: Scores) -> Difference:
    """Whether the best checkpoint of some models scores higher than the best one of others."""
    return difference(choose(first, scores), choose(second, scores), MEAN, scores)


def high_text_encoder_low_unet(models: Models) -> list[Experiment]:
    """Those of the upper half of the text encoder's rates and of the lower half of the UNet's."""
    unet, text_encoder = values_of(models, "unet_lr"), values_of(models, "text_encoder_lr")
    return [
        model
        for model in models
        if in_upper_half(model.parameters["text_encoder_lr"], text_encoder)
        and in_lower_half(model.parameters["unet_lr"], unet)
    ]


def untuned(checkpoint: Checkpoint | None) -> Checkpoint | None:
    """The untuned base as it was drawn beside a checkpoint."""
    return Checkpoint(checkpoint.experiment, 0) if checkpoint else None


def about_best(best: Checkpoint | None, models: Models) -> str:
    """Which model is best, and where its parameters stand in the grid."""
    if best is None:
        return ""
    parameters = best.experiment.parameters
    places = [
        f"{name} {number(parameters[name])} ({place(parameters[name], values_of(models, name))})"
        for name in paper_parameters(best.experiment.method)
    ]
    return f"best is {model_name(best.experiment.method, parameters)} at epoch {best.epoch}: {', '.join(places)}"


def few(what: str) -> Difference:
    """No comparison: the grid has too few values."""
    return Difference("unavailable", f"not enough {what} were run")


def pair_and_rank(model: Experiment) -> tuple[Any, ...]:
    """What LoRA's models are ordered by: their pair of rates, then their rank."""
    return tuple(model.parameters[name] for name in paper_parameters("lora"))
