{{- define "proxy.name" -}}registry-packages-proxy{{- end }}

{{- define "proxy.selectorLabels" -}}
app.kubernetes.io/name: registry-packages-proxy
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* `app` is what clients of the existing implementation look for. */}}
{{- define "proxy.labels" -}}
{{ include "proxy.selectorLabels" . }}
app: registry-packages-proxy
app.kubernetes.io/component: packages
app.kubernetes.io/part-of: deckhouse
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Who fetches packages with a token of the cluster, where nobody else vouches for the node. */}}
{{- define "proxy.readerName" -}}{{ include "proxy.name" . }}-reader{{- end }}

{{/* By digest where one is given, otherwise by tag. */}}
{{- define "proxy.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is required: where the image of registry-packages-proxy was pushed" $image.repository -}}
{{- if $image.digest -}}{{ $repository }}@{{ $image.digest }}
{{- else -}}{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Mebibytes of the cache's budget. */}}
{{- define "proxy.cacheMebibytes" -}}
{{- $number := regexFind "^[0-9]+" .Values.cache.size | int -}}
{{- if hasSuffix "Gi" .Values.cache.size -}}{{ mul $number 1024 }}{{- else -}}{{ $number }}{{- end -}}
{{- end }}

{{/*
The volume: the budget and a tenth of it, at least 64 Mi, for directories and whatever the file system adds. The kubelet
evicts a pod whose volume is larger than its limit.
*/}}
{{- define "proxy.volumeSize" -}}
{{- $cache := include "proxy.cacheMebibytes" . | int -}}
{{ add $cache (max 64 (div $cache 10)) }}Mi
{{- end }}
