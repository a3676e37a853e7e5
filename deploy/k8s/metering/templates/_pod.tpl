{{- /* The pod that every workload and Job here is made of: restricted, without a token, on a read-only file system. */ -}}

{{- /* (list $ "component" "image name" <container parts as YAML text> <restart policy or "">) */ -}}
{{- define "metering.pod" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $values := $root.Values -}}
{{- $component := index $values.components $name | default dict -}}
serviceAccountName: {{ if $component }}{{ include "metering.name" (list $root $name) }}{{ else }}default{{ end }}
automountServiceAccountToken: false
# Service links would put variables such as AUTH_PORT beside the settings.
enableServiceLinks: false
{{- with $values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
{{- if $component }}
{{- with $values.priorityClass.name }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
{{- range $field := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with index $values.security $field }}
  {{ $field }}: {{ int64 . }}
{{- end }}
{{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with index . 4 }}
restartPolicy: {{ . }}
{{- end }}
{{- with $component.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $component.affinity }}
affinity:
{{ toYaml . | indent 2 }}
{{- end }}
containers:
  - name: {{ $name }}
    image: {{ include "metering.image" (list $root (index . 2)) }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
{{- if eq $name "prober" }}
      - {name: state, mountPath: /state}
      - {name: token, mountPath: /etc/metering/token, readOnly: true}
{{- end }}
{{- range $where := list "kafka" "postgresql" "public API" }}
{{- if include "metering.caSecret" (list $root $name $where) }}
      - {name: {{ $where }}-ca, mountPath: /etc/metering/{{ $where }}, readOnly: true}
{{- end }}
{{- end }}
{{ index . 3 | indent 4 }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
{{- if eq $name "prober" }}
  - name: state
{{- if $component.persistence.enabled }}
    persistentVolumeClaim: {claimName: {{ $component.persistence.existingClaim | default (include "metering.name" (list $root $name)) }}}
{{- else }}
    emptyDir: {sizeLimit: 16Mi}
{{- end }}
  - name: token
    secret:
      secretName: {{ include "metering.secret" (list $root $name) }}
      items: [{key: refresh-token, path: refresh-token}]
      optional: true
{{- end }}
{{- range $where := list "kafka" "postgresql" "public API" }}
{{- with include "metering.caSecret" (list $root $name $where) }}
  - name: {{ $where }}-ca
    secret: {secretName: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* (list $ "component" "kafka", "postgresql" or "public API"): the Secret with the authority, if the component needs it. */ -}}
{{- define "metering.caSecret" -}}
{{- $values := (index . 0).Values -}}
{{- $name := index . 1 -}}
{{- if eq (index . 2) "kafka" -}}
{{- if not (has $name (list "migrations" "prober" "registers")) }}{{ $values.kafka.tls.caSecret.name }}{{ end -}}
{{- else if eq (index . 2) "public API" -}}
{{- if eq $name "prober" }}{{ $values.components.prober.caSecret.name }}{{ end -}}
{{- else if has $name (list "auth" "writer" "registers" "ecl-poller" "migrations" "prober") -}}
{{- $values.postgresql.caSecret.name -}}
{{- end -}}
{{- end }}

{{- /* (list $ "component"): how the kubelet asks. Health says that the event loop turns, also while a start waits
       for Kafka or a database, which it does for as long as it takes: the admin port opens first. So the startup probe
       only covers how long a busy node takes to load the program, and none of the three kills a pod that waits. */ -}}
{{- define "metering.container" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $component := index $root.Values.components $name -}}
{{- $http := has $name (list "ingest-api" "auth") -}}
{{- if eq $name "registers" }}
args: [registers]
{{- end }}
env:
{{ include "metering.environment" . | trim | indent 2 }}
ports:
{{- if $http }}
  - {name: http, containerPort: 8080}
{{- end }}
  - {name: admin, containerPort: 9090}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 2
{{- if eq $name "auth" }}
# Endpoints are taken away while the pod still serves; ingest-api does the same by INGEST_UNREADY_SECONDS.
lifecycle:
  preStop: {sleep: {seconds: 5}}
{{- end }}
resources:
{{ toYaml $component.resources | indent 2 }}
{{- end }}

{{- /* (list $ "component" "label by which revisions differ, or empty") */ -}}
{{- define "metering.spread" -}}
{{- $root := index . 0 -}}
{{- $selector := include "metering.selector" (list $root (index . 1)) -}}
{{- $revision := index . 2 -}}
{{- with $root.Values.topologySpread }}
{{- if .enabled }}
topologySpreadConstraints:
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    # A node without a zone's label would take nobody if this demanded one.
    whenUnsatisfiable: {{ if eq $key "kubernetes.io/hostname" }}{{ $root.Values.topologySpread.whenUnsatisfiable }}{{ else }}ScheduleAnyway{{ end }}
    labelSelector:
      matchLabels:
{{ $selector | indent 8 }}
    matchLabelKeys: [{{ $revision }}]
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* (list $ "component"): what a pod's template carries beside its spec. */ -}}
{{- define "metering.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $component := index $root.Values.components (index . 1) | default dict -}}
labels:
{{ include "metering.selector" . | indent 2 }}
{{- with $component.podAnnotations }}
annotations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}
