{{- /* Names, labels and images: what every manifest of a component begins with. */ -}}

{{- define "metering.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- /* (list $ "auth") -> metering-auth */ -}}
{{- define "metering.name" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s" (include "metering.fullname" $root) (index . 1) | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "metering.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "metering.labels" -}}
{{- $root := index . 0 -}}
{{ include "metering.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* (list $ "image name") */ -}}
{{- define "metering.image" -}}
{{- $image := (index . 0).Values.image -}}
{{- $name := index . 1 -}}
{{- with index $image.digests $name -}}
{{ $image.repository }}/{{ $name }}@{{ . }}
{{- else -}}
{{ $image.repository }}/{{ $name }}:{{ $image.tag | default (index $ 0).Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "metering.secret" -}}
{{- $root := index . 0 -}}
{{- index $root.Values.secrets.existing (index . 1) | default (include "metering.name" .) -}}
{{- end }}

{{- /* The components that are switched on, as a YAML list. */ -}}
{{- define "metering.enabled" -}}
{{- range $name, $component := .Values.components }}
{{- if $component.enabled }}
- {{ $name }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The public URL's host. */ -}}
{{- define "metering.host" -}}
{{- .Values.ingress.host | default (regexReplaceAll ":[0-9]+$" (regexReplaceAll "^https?://" .Values.publicUrl "") "") -}}
{{- end }}
