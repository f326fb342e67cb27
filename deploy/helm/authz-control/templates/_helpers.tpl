{{- define "control.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}
{{- define "control.selector" -}}
app.kubernetes.io/name: {{ include "control.name" . }}
{{- end }}
{{- define "control.labels" -}}
{{ include "control.selector" . }}
app.kubernetes.io/part-of: authz
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- define "control.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}
{{- define "control.rights" -}}
securityContext:
  runAsUser: 65532
  runAsGroup: 65532
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
{{- define "control.store" -}}
{{- if .Values.postgresql.secret }}
- name: AUTHZ_CONTROL_STORE
  valueFrom:
    secretKeyRef: {name: {{ .Values.postgresql.secret }}, key: url}
{{- end }}
{{- end }}
{{- define "control.port" -}}
{{- regexFind "[0-9]+$" .Values.config.listen -}}
{{- end }}
