"""The report as markdown, for a pull request: the verdict, the best checkpoints, what the gates rejected."""

from __future__ import annotations

from stages.report.labels import title_of, with_interval
from stages.report.tables import TABLE_COLUMNS, Tables, not_distinguishable, outcome_rows, shipped_figures
from stages.report.verdict import Verdict


def markdown(verdict: Verdict, tables: Tables, confidence: float) -> str:
    """The report for a pull request; `confidence` is the level of the intervals."""
    lines = ["# Report", "", "## Verdict", ""]
    if verdict.shipped:
        s = verdict.shipped
        figures = ", ".join(f"{n} {v}" + (f" ({i})" if i else "") for n, v, i in shipped_figures(verdict))
        lines += [
            f"Ship **{title_of(s.method)}, epoch {s.epoch}**. {verdict.reason}",
            "",
            f"On the seeds that had no say in the choice: {figures}.",
        ]
        if verdict.equals:
            equals = not_distinguishable(verdict)
            lines += ["", f"Not distinguishable from it in joint success on those seeds: {equals}."]
        lines += [f"Gate not applied: {text}." for text in s.unchecked]
    else:
        lines += [f"Ship **nothing**. {verdict.reason}"]
    lines += ["", "## Best checkpoints of each method", "", f"Intervals: {confidence:.0%}.", ""]
    names = [name for _, name in TABLE_COLUMNS]
    lines += [f"| Checkpoint | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1)]
    for name, row in tables.best:
        lines.append(f"| {name} | {' | '.join(with_interval(row, key) for key, _ in TABLE_COLUMNS)} |")
    lines += [
        "",
        *[f"- {line}" for line in tables.comparisons],
        "",
        "![Base and best checkpoints, a row a prompt](report.png)",
        "",
    ]
    rejected = [row for row in outcome_rows(verdict) if row["outcome"].startswith("rejected")]
    if rejected:
        lines += ["## Rejected by the gates", "", "| Checkpoint | Joint success | Why |", "| --- | --- | --- |"]
        lines += [f"| {r['name']} | {r['joint']} | {r['outcome'].removeprefix('rejected: ')} |" for r in rejected]
        lines += [""]
    return "\n".join(lines)
