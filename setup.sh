#!/bin/sh
# Make .venv from requirements.lock: every package at its pinned version, its hash checked. Called by the Makefile.
# Needs git and Python 3.11 or newer, nothing else; what is missing is said in one line.
#
# With TORCH=cpu, torch and torchvision of the same versions come from PyTorch's own index, in builds without CUDA. That
# index is none that requirements.lock knows, so these two are not checked by hash; all others are.
set -eu

TORCH=${TORCH:-}
NEEDED_KIB=8000000 # the packages take 6.5 GB, the demo's results about 1 GB
[ "$TORCH" = cpu ] && NEEDED_KIB=3500000

# Bytecode is compiled here, once: every stage is a process of its own, and importing from source takes twelve seconds
# where importing from bytecode takes five.

fail() {
	echo "error: $1" >&2
	exit 1
}

cd "$(dirname "$0")"
case $TORCH in "" | cpu) ;; *) fail "TORCH=$TORCH: must be cpu, or left out for the package registry's build" ;; esac
command -v git >/dev/null || fail "git is missing: install it"
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || fail "this folder is no git checkout: clone the repository, DVC needs it"
command -v "$PYTHON" >/dev/null || fail "$PYTHON is missing: install Python 3.11 or newer, or call make PYTHON=/path/to/python"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$("$PYTHON" --version) is too old: Python 3.11 or newer is needed (make PYTHON=/path/to/python)"
if [ ! -x .venv/bin/python ]; then
	free=$(df -Pk . | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$NEEDED_KIB" ] ||
		fail "$((free / 1000000)) GB of disk space are free here, about $((NEEDED_KIB / 1000000)) GB are needed"
	"$PYTHON" -m venv .venv || fail "$PYTHON -m venv failed: install Python's venv module (python3-venv on Debian)"
fi
echo "Setting up .venv (once; several GB)"
sed -n '/^uv==/,/[^\\]$/p' requirements.lock >.venv/uv.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock ||
	fail "pip could not install uv: is the package registry reachable?"
if [ "$TORCH" = cpu ]; then
	# Without the entries of torch, torchvision and the CUDA libraries; an entry ends with the line that has no backslash.
	awk '/^[a-z]/ { skip = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/ && !/^nvidia-ml-py==/ } !skip' \
		requirements.lock >.venv/requirements.lock
	.venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes .venv/requirements.lock ||
		fail "uv could not install requirements.lock: is the package registry reachable, is there disk space left?"
	sed -nE 's/^((torch|torchvision)==[^ ]+).*/\1/p' requirements.lock |
		.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --no-deps --torch-backend cpu -r - ||
		fail "uv could not install PyTorch's CPU build: is PyTorch's own index reachable? (leave TORCH=cpu out to do without)"
else
	.venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock ||
		fail "uv could not install requirements.lock: is the package registry reachable, is there disk space left?"
fi
touch .venv/ready
