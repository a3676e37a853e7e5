set -eu
data=/var/lib/postgresql/data/cluster
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$data" && chown 70:70 "$data" && chmod 700 "$data"
  exec setpriv --reuid=70 --regid=70 --clear-groups bash /start.sh
fi
user=${POSTGRES_USER:-postgres}
settings=(-c unix_socket_directories= -c max_connections=100)
extension=$(dirname "$(command -v postgres)")/../share/extension/timescaledb.control
[ ! -f "$extension" ] || settings+=(-c shared_preload_libraries=timescaledb)
if [ ! -f "$data/PG_VERSION" ]; then
  initdb -D "$data" -U "$user" -E UTF8 --locale-provider=builtin --locale=C.UTF-8 --no-sync \
    --auth=scram-sha-256 --pwfile=<(echo "$POSTGRES_PASSWORD") >/dev/null
  echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
  [ "${POSTGRES_DB:-postgres}" = postgres ] ||
    postgres --single -D "$data" "${settings[@]}" postgres <<<"CREATE DATABASE \"$POSTGRES_DB\" OWNER \"$user\""
fi
exec postgres -D "$data" -c listen_addresses='*' "${settings[@]}"
