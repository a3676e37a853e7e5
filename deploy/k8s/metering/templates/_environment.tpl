{{- /* What a component's settings.py reads: Kafka and PostgreSQL by address, secrets by reference. */ -}}

{{- define "metering.environment" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $component := index $root.Values.components $name -}}
{{- $prefix := get (include "metering.prefixes" $root | fromYaml) $name -}}
{{- if not (has $name (list "prober" "registers")) }}
{{ include "metering.kafkaEnvironment" . }}
{{- end }}
- {name: {{ $prefix }}_ADMIN_PORT, value: "9090"}
- {name: {{ $prefix }}_LOG_LEVEL, value: {{ $component.logLevel }}}
- {name: {{ $prefix }}_DRAIN_SECONDS, value: {{ $component.drainSeconds | quote }}}
{{- if has $name (list "ingest-api" "auth") }}
- {name: {{ $prefix }}_HTTP_PORT, value: "8080"}
{{- end }}
{{- if eq $name "ingest-api" }}
- {name: INGEST_UNREADY_SECONDS, value: {{ $component.unreadySeconds | quote }}}
{{- end }}
{{- if eq $name "auth" }}
- {name: AUTH_PUBLIC_URL, value: {{ $root.Values.publicUrl | quote }}}
- {name: AUTH_TRUSTED_PROXIES, value: {{ $component.trustedProxies | quote }}}
{{- end }}
{{- if has $name (list "validator" "writer") }}
# A replica that comes back under its own name keeps its partitions: no rebalance in a rolling update.
- name: {{ $prefix }}_GROUP_INSTANCE_ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}
{{- with get (dict "auth" (list "auth_service" "auth") "writer" (list "storage_writer" "storage") "registers" (list "storage_writer" "storage") "ecl-poller" (list "ecl_service" "ecl") "prober" (list "storage_reader" "storage")) $name }}
{{ include "metering.databaseEnvironment" (list $root (printf "%s_DATABASE_URL" $prefix) (index . 0) (index . 1) (include "metering.secret" (list $root $name)) "database-password") }}
{{- end }}
{{- if has $name (list "auth" "ecl-poller") }}
- name: {{ $prefix }}_KEY_ENCRYPTION_KEY
  valueFrom: {secretKeyRef: {name: {{ include "metering.secret" (list $root $name) }}, key: key-encryption-key}}
{{- end }}
{{- if has $name (list "auth" "ecl-poller") }}
- name: {{ $prefix }}_KEY_ENCRYPTION_KEY_PREVIOUS
  valueFrom: {secretKeyRef: {name: {{ include "metering.secret" (list $root $name) }}, key: key-encryption-key-previous, optional: true}}
{{- end }}
{{- if eq $name "prober" }}
- {name: PROBER_API_URL, value: {{ $component.apiUrl | default $root.Values.publicUrl | quote }}}
- {name: PROBER_STATE_DIRECTORY, value: /state}
- {name: PROBER_TOKEN_FILE, value: /etc/metering/token/refresh-token}
{{- if $component.caSecret.name }}
- {name: PROBER_CA_FILE, value: /etc/metering/public API/{{ $component.caSecret.key }}}
{{- end }}
{{- end }}
{{- with $root.Values.tracing.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- range $variable, $text := $component.settings }}
- {name: {{ $variable }}, value: {{ $text | toString | quote }}}
{{- end }}
{{- with $root.Values.secrets.generation }}
- {name: METERING_SECRETS_GENERATION, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "metering.prefixes" -}}
{ingest-api: INGEST, auth: AUTH, validator: VALIDATOR, writer: WRITER, registers: REGISTERS, ecl-poller: ECL, prober: PROBER}
{{- end }}

{{- /* (list $ "principal's component") */ -}}
{{- define "metering.kafkaEnvironment" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $kafka := $root.Values.kafka -}}
{{- $sasl := $kafka.sasl.mechanism -}}
- {name: KAFKA_BOOTSTRAP_SERVERS, value: {{ $kafka.bootstrapServers | quote }}}
- {name: KAFKA_ENVIRONMENT, value: {{ $kafka.environment }}}
- {name: KAFKA_SECURITY_PROTOCOL, value: {{ printf "%s%s" (ternary "SASL_" "" (ne $sasl "")) (ternary "SSL" "PLAINTEXT" $kafka.tls.enabled) | trimSuffix "_" }}}
{{- if $kafka.tls.caSecret.name }}
- {name: KAFKA_SSL_CAFILE, value: /etc/metering/kafka/{{ $kafka.tls.caSecret.key }}}
{{- end }}
{{- if $sasl }}
- {name: KAFKA_SASL_MECHANISM, value: {{ $sasl }}}
- {name: KAFKA_SASL_USERNAME, value: {{ index $kafka.sasl.usernames $name | default $name }}}
- name: KAFKA_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "metering.secret" . }}, key: kafka-password}}
{{- end }}
{{- end }}

{{- /* (list $ "VARIABLE" "role" "database" "secret" "key"): the password stands in a variable of its own before the URL. */ -}}
{{- define "metering.databaseEnvironment" -}}
{{- $root := index . 0 -}}
{{- $postgresql := $root.Values.postgresql -}}
- name: DATABASE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ index . 4 }}, key: {{ index . 5 }}}}
- name: {{ index . 1 }}
  value: {{ printf "postgresql://%s:$(DATABASE_PASSWORD)@%s:%v/%s?sslmode=%s" (index . 2) $postgresql.host $postgresql.port (get $postgresql.databases (index . 3)) $postgresql.sslMode }}{{ if $postgresql.caSecret.name }}&sslrootcert=/etc/metering/postgresql/{{ $postgresql.caSecret.key }}{{ end }}
{{- end }}
