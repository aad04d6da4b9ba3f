"""The paper's whole experiment from DVC's experiments: Tables 2, 3 and 4, Figures 9, 10 and 11, and its findings.

    python -m experiments.paper [REVISION ...]

Reads   git: params.yaml, dvc.lock, metrics/epochs and the training loss of each revision (experiments by name, commits
        with the experiments that started from them, nothing for every experiment and HEAD); DVC's cache: data/scores
        and data/samples of those that are compared and shown.
Writes  metrics/paper/: paper.md, paper.json, figure9.png, figure10.png, figure11.png.

Each table has the paper's numbers beside ours (numbers.yaml). Each finding is answered yes, no or not decided, by
comparisons of pictures; where these are in no cache in reach, by intervals. This is no stage of the pipeline: it looks
at many commits, and no commit can depend on that.
"""

from __future__ import annotations

import click

from stages.common.command import stage_main


@click.command()
@click.argument("revisions", nargs=-1)
def main(revisions: tuple[str, ...]) -> None:
    """Write the paper's tables, figures and findings (of all experiments, or of those of REVISIONS)."""

    @stage_main
    def run() -> None:
        from experiments.paper.page import OUT, write_paper

        content = write_paper(revisions)
        for answer in content["findings"]:
            click.echo(f"{answer['decision']:<12} {answer['finding']}")
        for note in content["notes"]:
            click.echo(note)
        click.echo(f"open {OUT / 'paper.md'}")

    run()


if __name__ == "__main__":
    main()
