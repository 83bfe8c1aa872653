{{- define "modelrunner.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "modelrunner.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "modelrunner.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "modelrunner.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "modelrunner.selector" -}}
app.kubernetes.io/name: {{ include "modelrunner.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "modelrunner.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "modelrunner.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "modelrunner.image" -}}
{{- $suffix := "" }}
{{- if .Values.gpu.enabled }}{{ $suffix = ternary "-cuda" "-rocm" (eq .Values.gpu.vendor "nvidia") }}{{ end }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default (printf "%s%s" .Chart.AppVersion $suffix)) }}
{{- end }}

{{- define "modelrunner.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "modelrunner.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "modelrunner.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "modelrunner.fullname" .)) }}
{{- end }}

{{/* Behind the proxy that asks for the key, the daemon is on loopback, and the key is what protects it. */}}
{{- define "modelrunner.env" -}}
- name: DMR_BIND
  value: {{ ternary "127.0.0.1" "0.0.0.0" .Values.auth.enabled | quote }}
- name: MODEL_RUNNER_PORT
  value: {{ ternary "12435" "12434" .Values.auth.enabled | quote }}
- name: DMR_ALLOWED_HOSTS
  value: {{ ternary "*" (concat (list (include "modelrunner.fullname" .) (printf "%s.%s" (include "modelrunner.fullname" .) .Release.Namespace) (printf "%s.%s.svc" (include "modelrunner.fullname" .) .Release.Namespace) (printf "%s.%s.svc.cluster.local" (include "modelrunner.fullname" .) .Release.Namespace)) .Values.allowedHosts (include "modelrunner.ingressHosts" . | fromJsonArray) | uniq | join ",") .Values.auth.enabled | quote }}
{{- with .Values.origins }}
- name: DMR_ORIGINS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.models.preload }}
- name: DMR_PRELOAD
  value: {{ join "," . | quote }}
{{- end }}
{{- if .Values.registrySecret }}
- name: DOCKER_CONFIG
  value: /etc/modelrunner/docker
{{- end }}
{{- with .Values.huggingFaceSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ . | quote }}, key: token}
{{- end }}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "modelrunner.ingressHosts" -}}
{{- $hosts := list }}
{{- if .Values.ingress.enabled }}{{ range .Values.ingress.hosts }}{{ $hosts = append $hosts .host }}{{ end }}{{ end }}
{{- $hosts | toJson }}
{{- end }}

{{- define "modelrunner.mounts" -}}
- {name: models, mountPath: /models, subPath: models}
- {name: models, mountPath: /var/lib/modelrunner, subPath: state}
- {name: home, mountPath: /home/modelrunner}
- {name: scratch, mountPath: /tmp}
{{- if .Values.registrySecret }}
- {name: registry, mountPath: /etc/modelrunner/docker, readOnly: true}
{{- end }}
{{- end }}

{{- define "modelrunner.claim" -}}
accessModes: {{- toYaml .Values.storage.accessModes | nindent 2 }}
{{- with .Values.storage.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.storage.size }}
{{- end }}
