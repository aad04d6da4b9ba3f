"""Fine-tune as told by <folder>/arguments.json: a script for `accelerate launch`."""

import json
import sys
from pathlib import Path

from stages.common.params import Params
from tests.engine_world import run_finetune

if __name__ == "__main__":
    target = Path(sys.argv[1])
    arguments = json.loads((target / "arguments.json").read_text())
    given = Params.model_validate(arguments["params"])
    run_finetune("lora", given, target, Path(arguments["data"]), Path(arguments["base"]))
