"""Brands to teach in the demo world, and one command that runs the whole pipeline on one of them.

`catalogue.py` says what each looks like, `<name>/profile.yaml` what params.yaml must say for it; nothing else differs
from the run on HUGO. `python -m demo.brands badge` runs the pipeline in a clone of HEAD (`clone.py`) and writes its
numbers into metrics/brands/badge.json (`results.py`).
"""
