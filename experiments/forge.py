"""The forge's API (GitHub's, which Gitea has too): one comment under a pull request, renewed in place."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from stages.common.errors import UserError

PAGE = 100
"""Comments asked for at once, the most that the API gives."""


def post_comment(text: str, mark: str, repository: str, number: int, api: str, token: str) -> str:
    """Renew the comment that begins with `mark`, else make it; returns its address.

    Raises UserError where the forge refuses.
    """
    issue = f"{api.rstrip('/')}/repos/{repository}/issues"
    page, there = 1, None
    while there is None:
        comments = call("GET", f"{issue}/{number}/comments?per_page={PAGE}&page={page}", token)
        there = next((comment for comment in comments if str(comment["body"]).startswith(mark)), None)
        if len(comments) < PAGE:
            break
        page += 1
    if there is not None:
        answer = call("PATCH", f"{issue}/comments/{there['id']}", token, {"body": text})
    else:
        answer = call("POST", f"{issue}/{number}/comments", token, {"body": text})
    return str(answer["html_url"])


def call(method: str, url: str, token: str, content: dict[str, str] | None = None) -> Any:
    """One request of the forge's API; returns what it answers."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"GITHUB_API_URL = {url!r}: must begin with https://")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    data = json.dumps(content).encode() if content is not None else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise UserError(f"{method} {url}: HTTP {error.code}: may the token write pull-request comments?") from None
    except (urllib.error.URLError, ValueError) as error:
        raise UserError(f"{method} {url}: {error}") from None
