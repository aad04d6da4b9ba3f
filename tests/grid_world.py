"""A repository with planted experiments: commits as `dvc exp run` leaves them, made without running anything.

Each experiment's pictures have scores that a function of epoch, prompt and seed says; its numbers are made of them by
the code that makes all numbers, and its outputs lie in DVC's cache.
"""

import hashlib
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from ruamel.yaml import YAML

from stages.common.checkpoints import by_epoch, summarise
from stages.common.tables import Row

PROMPTS = ("a {token} logo", "a blue sweater with a {token} logo", "a billboard with a {token} logo", "a {token} bag")
RATES = [0.001, 0.002, 0.004]
RANKS = [4, 16, 64]
GRID = {
    "dreambooth": {"learning_rate": RATES},
    "textual_inversion": {"learning_rate": RATES},
    "lora": {"unet_lr": RATES, "text_encoder_lr": RATES, "rank": RANKS},
}
DVC_YAML = """stages:
  sample:
    matrix: {method: [dreambooth, textual_inversion, lora]}
    cmd: sample
    outs: ["data/samples/${item.method}"]
  score-base:
    cmd: score
    outs: [data/scores/base.jsonl]
  score:
    matrix: {method: [dreambooth, textual_inversion, lora]}
    cmd: score
    outs: ["data/scores/${item.method}.jsonl"]
"""
Draw = Callable[[int, int, int], Row]


def picture(od: float, read: bool, copied: bool = False, right: bool = True) -> Row:
    """The scores of a picture."""
    return {
        "od": od if od >= 0.7 else 0.0,
        "ocr": read,
        "joint": read and od >= 0.7,
        "edit_distance": 0.0 if read else 1.0,
        "memorised": copied,
        "colour_right": right,
        "clip_prompt_right": right,
    }


class GridWorld:
    """A git repository with DVC's files and cache, and experiments as refs."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q")
        for key, value in (("user.name", "test"), ("user.email", "test@example.invalid"), ("gc.auto", "0")):
            self.git("config", key, value)
        self.write(".dvc/config", "[core]\n    analytics = false\n")
        self.write(".gitignore", "/.dvc/cache\n/.dvc/tmp\n/data\n")
        self.write("dvc.yaml", DVC_YAML)
        self.git("add", "-A")
        self.git("commit", "-qm", "before any run")
        self.baseline = self.git("rev-parse", "HEAD").strip()

    def add(
        self,
        name: str,
        method: str,
        draw: Draw,
        *,
        epochs: int = 12,
        stop_after: int = 0,
        seeds: int = 4,
        cached: bool = True,
        **parameters: Any,
    ) -> str:
        """Make an experiment's commit and ref; `draw` says what its pictures score. Returns the commit."""
        settings = {"epochs": epochs, "save_every": 3, "stop_after": stop_after, **parameters}
        saved = range(3, (stop_after or epochs) + 1, 3)
        pictures = [(e, p, s) for e in saved for p in range(len(PROMPTS)) for s in range(seeds)]
        rows = [row(e, p, s, draw(e, p, s)) for e, p, s in pictures]
        base = [row(0, p, s, picture(0, False)) for p in range(len(PROMPTS)) for s in range(seeds)]
        summaries = [
            {"epoch": epoch} | summarise(of, confidence=0.95, samples=200, seed=0)
            for epoch, of in by_epoch([*base, *rows]).items()
        ]
        metrics = f"metrics/epochs/{method}.json"
        self.write(metrics, json.dumps(summaries))
        losses = "".join(f"{epoch}\t{1 / (epoch + 1):.4f}\n" for epoch in range(1, saved[-1] + 1))
        self.write(f"metrics/finetune/{method}/plots/metrics/loss.tsv", f"step\tloss\n{losses}")
        samples = {r["file"]: drawn(r) for r in rows} | {"manifest.jsonl": lines(rows)}
        outs = {
            f"data/samples/{method}": self.cache_folder(samples, cached),
            f"data/scores/{method}.jsonl": self.cache_file(lines(rows), cached),
            "data/scores/base.jsonl": self.cache_file(lines(base), cached),
            metrics: hashlib.md5((self.folder / metrics).read_bytes()).hexdigest(),
        }
        stages = {
            f"finetune@{method}": {"cmd": "train", "params": {"params.yaml": {f"finetune.{method}": settings}}},
            f"sample@{method}": lock(outs, f"data/samples/{method}"),
            "score-base": lock(outs, "data/scores/base.jsonl"),
            f"score@{method}": lock(outs, f"data/scores/{method}.jsonl", metrics),
        }
        params = {
            "seed": 0,
            "grid": GRID,
            "finetune": {method: settings},
            "sample": {"prompts": list(PROMPTS), "images_per_prompt": seeds},
            "score": {"confidence_level": 0.95, "bootstrap_samples": 200},
        }
        self.write("params.yaml", yaml(params))
        self.write("dvc.lock", yaml({"schema": "2.0", "stages": stages}))
        self.git("add", "-A")
        self.git("commit", "-qm", name)
        commit = self.git("rev-parse", "HEAD").strip()
        self.git("update-ref", f"refs/exps/{self.baseline[:2]}/{self.baseline[2:]}/{name}", commit)
        self.git("reset", "-q", "--hard", self.baseline)
        return commit

    def cache_file(self, content: bytes, cached: bool = True) -> str:
        """Put bytes into DVC's cache (unless they are to be missing there); returns their MD5."""
        md5 = hashlib.md5(content).hexdigest()
        if cached:
            self.write(f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}", content)
        return md5

    def cache_folder(self, files: dict[str, bytes], cached: bool = True) -> str:
        """Put a folder into DVC's cache; returns its hash."""
        entries = [{"md5": self.cache_file(files[name], cached), "relpath": name} for name in sorted(files)]
        content = json.dumps(entries, sort_keys=True).encode()
        md5 = f"{hashlib.md5(content).hexdigest()}.dir"
        if cached:
            self.write(f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}", content)
        return md5

    def write(self, path: str, content: str | bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def row(epoch: int, prompt: int, seed: int, scores: Row) -> Row:
    """A row of the manifest with its scores."""
    return {
        "epoch": epoch,
        "prompt_index": prompt,
        "prompt": PROMPTS[prompt].replace("{token}", "<hugo>"),
        "plain": False,
        "seed_index": seed,
        "file": f"epoch-{epoch:02d}/p{prompt:02d}-s{seed:02d}.png",
        **scores,
    }


def drawn(of: Row) -> bytes:
    """A picture whose colour tells its epoch, prompt and seed."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (of["epoch"] * 8, of["prompt_index"] * 60, of["seed_index"] * 60)).save(buffer, "PNG")
    return buffer.getvalue()


def lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(of) + "\n" for of in rows).encode()


def lock(outs: dict[str, str], *paths: str) -> dict[str, Any]:
    """A stage of dvc.lock that made these outputs."""
    return {"cmd": "run", "outs": [{"path": path, "hash": "md5", "md5": outs[path]} for path in paths]}


def yaml(content: Any) -> str:
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(content, text)
    return text.getvalue()
