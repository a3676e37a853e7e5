#!/bin/sh
# Makes .venv from requirements.lock: the only step before Python code of the project can run. Called by make.
# usage: make-venv.sh PYTHON
set -u
python=$1
cd "$(dirname "$0")/../.." || exit 1

fail() { echo "$1" >&2; exit 1; }

command -v "$python" >/dev/null 2>&1 || fail "Python 3.11 or newer is needed and $python was not found; install it, or say make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "Python 3.11 or newer is needed and $python is $("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo no working Python); say make PYTHON=/path/to/a/newer/python3"

log=.venv.log
trap 'rm -f .venv.uv' EXIT
# A virtual environment of another Python, or one broken half way, is recreated.
.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || rm -rf .venv
[ -d .venv ] || "$python" -m venv .venv >"$log" 2>&1 ||
  fail "$python cannot make a virtual environment (on Debian: apt-get install python3-venv): $(tail -n 1 "$log")"

editable=$(for project in deploy/*/pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml; do printf ' -e %s' "${project%/pyproject.toml}"; done)

# uv first, with its hash from the lock; it installs the rest four times as fast as pip does.
sed -n '/^uv==/,/^[^ ]*[a-z].*==/p' requirements.lock | sed '/^uv==/,$!d' | awk 'NR == 1 || /^ /' >.venv.uv
echo "Installing the packages of requirements.lock into .venv (once, a minute at most)" >&2
with_uv() {
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv.uv &&
    .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements.lock &&
    .venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation $editable
}
with_pip() {
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock &&
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation $editable
}
with_uv >"$log" 2>&1 || with_pip >>"$log" 2>&1 || {
  if grep -qiE 'connection|network|resolve|dns|timed out|unreachable|failed to fetch|from versions: none' "$log"; then
    fail "The first set-up needs the network, and the packages could not be fetched; details in $log"
  fi
  grep -qi 'no space left' "$log" && fail "No disk space left for the packages, 1 GB is needed; details in $log"
  fail "The packages could not be installed: $(grep -iE 'error' "$log" | tail -n 1); details in $log"
}
rm -f "$log"
touch .venv/.made
