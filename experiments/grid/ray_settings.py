"""How Ray is set up, in environment variables that it reads when it is imported: so this comes first, without it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def set_up_ray(address: str) -> None:
    """Say nothing to Ray's makers, and let nobody run code here who does not have the token.

    A cluster of this machine's own gets a token that nobody else knows, and no file holds. At an address it is the one
    that the user has for it (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token), if there is one.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # a task without a GPU sees what the machine has
    if not address:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or (Path.home() / ".ray/auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
