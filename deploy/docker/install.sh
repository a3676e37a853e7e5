#!/bin/bash
# Puts one service, and only what it asks for, into /opt/metering: each package at the version and hash of the lock.
# Run by the Dockerfile's first stage. usage: install.sh SERVICE
set -euo pipefail
service=${1:?say which service: --build-arg SERVICE=auth}
into=/opt/metering
install() { /tools/bin/uv pip install --quiet --python "$into/bin/python" --compile-bytecode "$@"; }

packages="libs/common services/$service"
[ "$service" != jobs ] || packages="libs/common deploy/jobs"
! grep -q '"metering-gateway"' "${packages#* }/pyproject.toml" || packages="libs/gateway $packages"

# Our own packages are in no index: left out of what is resolved, built here, installed apart.
printf '%s; python_version < "0"\n' metering-common metering-gateway >/tmp/ours.txt
asked=$(printf -- '-r %s/pyproject.toml ' $packages)
/tools/bin/uv venv --quiet --python "$(command -v python3)" "$into"
# shellcheck disable=SC2086  # words are meant
install --require-hashes -c requirements.lock --override /tmp/ours.txt $asked
for package in $packages; do env -C "$package" /tools/bin/hatchling build -t wheel -d /wheels; done
install --no-deps /wheels/*.whl

# What only tests use stays out of the image.
find "$into/lib" -depth -type d \( -name tests -o -path '*/metering_*/testing' \) -exec rm -r {} +
find "$into/lib" -path '*/metering_*' -name 'testing*' -delete
rm -f "$into"/bin/{activate*,deactivate*,*.bat} "$into"/{.lock,.gitignore,CACHEDIR.TAG}
[ "$service" != jobs ] || find services -path '*/migrations/*.sql' -exec cp --parents {} "$into" \;
