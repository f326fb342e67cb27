{{- define "authz.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}
{{- define "authz.selector" -}}
app.kubernetes.io/name: {{ include "authz.name" . }}
{{- end }}
{{- define "authz.labels" -}}
{{ include "authz.selector" . }}
app.kubernetes.io/part-of: authz
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- define "authz.publicKeys" -}}
{{- toYaml (.Values.publicKeys | default (dict "2026.pub" (.Files.Get "files/2026.pub"))) -}}
{{- end }}
{{- /* Fails where a layer trusts a file of /etc/authz that nothing puts there: the pods would start over and over. */ -}}
{{- define "authz.checkKeys" -}}
{{- $there := include "authz.publicKeys" . | fromYaml | keys }}
{{- range .Values.volumeMounts }}{{ $there = append $there (trimPrefix "/etc/authz/" .mountPath) }}{{ end }}
{{- range $layer := .Values.config.layers }}
{{- range $path := $layer.trusted_keys }}
{{- if and (regexMatch "^/etc/authz/[^/]+$" $path) (not (has (base $path) $there)) }}
{{- fail (printf "config.layers, %s: trusted_keys has %s, but publicKeys has %s" $layer.name $path (sortAlpha $there | join ", ")) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- /* Fails where the pod would be killed for its memory, or evicted for its disk, while a snapshot is replaced. */ -}}
{{- define "authz.checkSizes" -}}
{{- $twice := int64 0 }}
{{- range .Values.config.layers }}{{ $twice = add $twice (mul 2 (int64 (.max_size | default 268435456))) }}{{ end }}
{{- $memory := dig "limits" "memory" "" .Values.resources | toString }}
{{- range $what, $size := dict "resources.limits.memory" $memory "state.size" (toString .Values.state.size) }}
{{- $needs := ternary $twice (add $twice 100663296) (eq $what "state.size") }}
{{- if regexMatch "^[0-9]+[MG]i$" $size }}
{{- $bytes := mul (int64 (regexFind "^[0-9]+" $size)) (ternary 1048576 1073741824 (hasSuffix "Mi" $size)) }}
{{- if lt $bytes $needs }}
{{- fail (printf "%s is %s, expected %dMi or more: twice max_size of all layers (256Mi where a layer has none)" $what $size (div (add $needs 1048575) 1048576)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- /* Fails where a layer would never get a snapshot: nothing may go out, or no volume has its path. */ -}}
{{- define "authz.checkSources" -}}
{{- $urls := list }}
{{- range .Values.config.layers }}
{{- with .url }}{{ $urls = append $urls . }}{{ end }}
{{- if and (hasPrefix "/var/lib/authz/snapshot/" (.path | default "")) (eq $.Values.snapshot.source "none") }}
{{- fail (printf "config.layers, %s: its path is %s, but snapshot.source is none: no volume is there" .name .path) }}
{{- end }}
{{- end }}
{{- with dig "url" "" (.Values.config.events | default dict) }}{{ $urls = append $urls . }}{{ end }}
{{- if and $urls .Values.networkPolicy.enabled (not .Values.networkPolicy.egress) }}
{{- fail (printf "networkPolicy.egress is empty, so nothing may go out to %s: ci/layers.yaml has rules for the control plane" (join ", " $urls)) }}
{{- end }}
{{- end }}
{{- /* Fails where no node could be drained, or where the end of a pod would cut requests. */ -}}
{{- define "authz.checkPods" -}}
{{- $from := ternary "autoscaling.minReplicas" "replicas" .Values.autoscaling.enabled }}
{{- $fewest := int (ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled) }}
{{- $kept := toString .Values.podDisruptionBudget.minAvailable }}
{{- if .Values.podDisruptionBudget.enabled }}
{{- if or (eq $kept "100%") (and (regexMatch "^[0-9]+$" $kept) (ge (int $kept) $fewest)) }}
{{- fail (printf "podDisruptionBudget.minAvailable is %s, but %s is %d: no node with a pod could be drained. Run more pods, or set podDisruptionBudget.enabled to false" $kept $from $fewest) }}
{{- end }}
{{- end }}
{{- $drain := toString (.Values.config.drain | default "5s") }}
{{- if regexMatch "^[0-9]+[sm]?$" $drain }}
{{- $seconds := mul (int (regexFind "^[0-9]+" $drain)) (ternary 60 1 (hasSuffix "m" $drain)) }}
{{- $needs := add $seconds (int .Values.preStopSeconds) 10 }}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $needs) }}
{{- fail (printf "terminationGracePeriodSeconds is %d, expected %d or more: preStopSeconds, config.drain and 10" (int .Values.terminationGracePeriodSeconds) $needs) }}
{{- end }}
{{- end }}
{{- end }}
{{- /* What a front speaks: gateways that read it must not speak plainly to one that has TLS. Of: (list $ FRONT PLAIN). */ -}}
{{- define "authz.appProtocol" -}}
{{- $tls := not (empty (dig (index . 1) "tls" "" (index . 0).Values.config)) }}
{{- $variable := printf "AUTHZ_%s__TLS" (upper (index . 1)) }}
{{- range (index . 0).Values.env }}{{ $tls = or $tls (eq .name $variable) }}{{ end }}
{{- ternary "https" (index . 2) $tls }}
{{- end }}
{{- define "authz.port" -}}
{{- regexFind "[0-9]+$" (get . "listen" | default "") -}}
{{- end }}
{{- define "authz.ports" -}}
{{- range $front := list "grpc" "http" }}
{{- $settings := get $.Values.config $front | default dict }}
{{- $default := ternary "127.0.0.1:9191" "127.0.0.1:9192" (eq $front "grpc") }}
{{- $listen := get $settings "listen" | default $default }}
{{- if and (regexMatch ":[0-9]+$" $listen) (not (regexMatch "^(127\\.|\\[::1\\]|unix:)" $listen)) }}
{{ $front }}: {{ regexFind "[0-9]+$" $listen }}
{{- end }}
{{- end }}
{{- end }}
