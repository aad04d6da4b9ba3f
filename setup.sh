#!/bin/sh
# Make .venv from requirements.lock: every package at its pinned version, its hash checked. Called by the Makefile.
# Needs git and Python 3.11 or newer, nothing else; what is missing is said in one line.
set -eu

NEEDED_KIB=8000000 # the packages take 6.5 GB, the demo's results about 1 GB

fail() {
	echo "error: $1" >&2
	exit 1
}

cd "$(dirname "$0")"
command -v git >/dev/null || fail "git is missing: install it"
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || fail "this folder is no git checkout: clone the repository, DVC needs it"
command -v "$PYTHON" >/dev/null || fail "$PYTHON is missing: install Python 3.11 or newer, or call make PYTHON=/path/to/python"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$("$PYTHON" --version) is too old: Python 3.11 or newer is needed (make PYTHON=/path/to/python)"
if [ ! -x .venv/bin/python ]; then
	free=$(df -Pk . | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$NEEDED_KIB" ] || fail "$((free / 1000000)) GB of disk space are free here, about 8 GB are needed"
	"$PYTHON" -m venv .venv || fail "$PYTHON -m venv failed: install Python's venv module (python3-venv on Debian)"
fi
echo "Setting up .venv (once; several GB)"
sed -n '/^uv==/,/[^\\]$/p' requirements.lock >.venv/uv.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock ||
	fail "pip could not install uv: is the package registry reachable?"
.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock ||
	fail "uv could not install requirements.lock: is the package registry reachable, is there disk space left?"
touch .venv/ready
