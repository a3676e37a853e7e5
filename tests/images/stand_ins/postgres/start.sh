set -eu
data=/var/lib/postgresql/data/cluster
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$data" && chown 70:70 "$data" && chmod 700 "$data"
  exec setpriv --reuid=70 --regid=70 --clear-groups bash /start.sh
fi
if [ ! -f "$data/PG_VERSION" ]; then
  initdb -D "$data" -U postgres -E UTF8 --locale-provider=builtin --locale=C.UTF-8 --no-sync \
    --auth=scram-sha-256 --pwfile=<(echo "$POSTGRES_PASSWORD") >/dev/null
  echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
fi
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories= -c max_connections=100
