# KAFKA_A_B=c becomes a.b=c, the storage is formatted once, and the broker takes this process's place.
set -eu
for name in $(compgen -e KAFKA_); do
  [ "$name" = KAFKA_HEAP_OPTS ] || echo "$(echo "${name#KAFKA_}" | tr 'A-Z_' 'a-z.')=${!name}"
done >/tmp/server.properties
kafka() { exec /java/bin/java ${KAFKA_HEAP_OPTS:-} -XX:+ExitOnOutOfMemoryError -cp '/jars/*' "$@"; }
[ -f "$KAFKA_LOG_DIRS/meta.properties" ] || (kafka kafka.tools.StorageTool format -t "$CLUSTER_ID" -c /tmp/server.properties)
kafka kafka.Kafka /tmp/server.properties
