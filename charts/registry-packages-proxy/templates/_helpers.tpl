{{- define "proxy.name" -}}registry-packages-proxy{{- end }}

{{- define "proxy.selectorLabels" -}}
app.kubernetes.io/name: registry-packages-proxy
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels that no value replaces: the selector, and `app`, by which clients of the existing implementation select pods. */}}
{{- define "proxy.fixedLabels" -}}
{{ include "proxy.selectorLabels" . }}
app: registry-packages-proxy
{{- end }}

{{/*
As one map, since Kustomize, and with it Flux, refuses a key that stands there twice. A version may have "+" (build metadata,
which Flux appends to a chart), a label may not.
*/}}
{{- define "proxy.labels" -}}
{{- $own := dict "app.kubernetes.io/component" "packages" "app.kubernetes.io/part-of" "deckhouse" }}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63 | trimAll "-_.") }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_.") }}
{{- mergeOverwrite $own .Values.commonLabels (include "proxy.fixedLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* The ServiceAccount of nodes that have no other identity. */}}
{{- define "proxy.readerName" -}}{{ include "proxy.name" . }}-reader{{- end }}

{{/* The image by its digest if there is one, otherwise by its tag. */}}
{{- define "proxy.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is required: where the image of registry-packages-proxy was pushed" $image.repository -}}
{{- if $image.digest -}}{{ $repository }}@{{ $image.digest }}
{{- else -}}{{ $repository }}:{{ $image.tag | default (.Chart.AppVersion | replace "+" "_") }}
{{- end -}}
{{- end }}

{{/* The size of the cache in mebibytes. */}}
{{- define "proxy.cacheMebibytes" -}}
{{- $number := regexFind "^[0-9]+" .Values.cache.size | int -}}
{{- if hasSuffix "Gi" .Values.cache.size -}}{{ mul $number 1024 }}{{- else -}}{{ $number }}{{- end -}}
{{- end }}

{{/*
The size of the volume: the cache and a tenth of it, at least 64 Mi, for directories and blocks of the file system. The kubelet
evicts a pod whose volume is larger than its limit.
*/}}
{{- define "proxy.volumeSize" -}}
{{- $cache := include "proxy.cacheMebibytes" . | int -}}
{{ add $cache (max 64 (div $cache 10)) }}Mi
{{- end }}

{{/* The origin of the certificate of the HTTPS port: secret, generated, certManager or selfSigned. */}}
{{- define "proxy.tlsMode" -}}
{{- if .Values.tlsSecret -}}secret
{{- else if ne .Values.tls.mode "auto" -}}{{ .Values.tls.mode }}
{{- else if lookup "v1" "Namespace" "" "kube-system" -}}generated
{{- else -}}selfSigned
{{- end -}}
{{- end }}

{{/* The Secret of the certificate; empty if the sidecar makes the certificate. */}}
{{- define "proxy.tlsSecret" -}}
{{- $mode := include "proxy.tlsMode" . -}}
{{- if eq $mode "secret" -}}{{ .Values.tlsSecret }}
{{- else if ne $mode "selfSigned" -}}{{ include "proxy.name" . }}-serving
{{- end -}}
{{- end }}

{{/* The names and addresses of the HTTPS port, as a JSON list. */}}
{{- define "proxy.addresses" -}}
{{- $name := include "proxy.name" . -}}
{{- $service := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- $addresses := list $name (printf "%s.%s" $name .Release.Namespace) $service (printf "%s.cluster.local" $service) -}}
{{- range (lookup "v1" "Node" "" "").items -}}
{{- if hasKey (.metadata.labels | default dict) "node-role.kubernetes.io/control-plane" -}}
{{- range .status.addresses -}}{{- $addresses = append $addresses .address -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- concat $addresses .Values.tls.addresses | uniq | sortAlpha | toJson -}}
{{- end }}

{{/* Not empty if the service and its sidecar authenticate each other by certificates. */}}
{{- define "proxy.hardened" -}}
{{- if or .Values.hardened.secret (eq .Values.loopback "hardened") -}}true{{- end -}}
{{- end }}

{{/*
The resources of the service's container, in YAML. Measured: 122 MiB idle, 0.12 MiB for each client, 256 MiB for downloads
and blocks, and a tenth of the limit for the socket buffers of its own connections.
*/}}
{{- define "proxy.resources" -}}
{{- $clients := int .Values.expectedClients -}}
{{- $requests := dict "cpu" "20m" "memory" (printf "%dMi" (max 256 (add 160 (div (add $clients 7) 8)))) -}}
{{- $limits := dict "memory" (printf "%dMi" (add 768 $clients)) -}}
{{- mergeOverwrite (dict "requests" $requests "limits" $limits) (deepCopy .Values.resources) | toYaml -}}
{{- end }}

{{/*
The same for the sidecar. Measured: 45 MiB idle, 0.12 MiB for each client; and 4 MiB of socket buffers for each slow node, which
cgroup v2 counts as memory of the container.
*/}}
{{- define "proxy.sidecarResources" -}}
{{- $clients := int .Values.expectedClients -}}
{{- $requests := dict "cpu" "10m" "memory" (printf "%dMi" (add 32 (div (add (mul $clients 3) 19) 20))) -}}
{{- $limits := dict "memory" (printf "%dMi" (add 64 (div (add (mul $clients 17) 3) 4))) -}}
{{- mergeOverwrite (dict "requests" $requests "limits" $limits) (deepCopy .Values.kubeRbacProxyResources) | toYaml -}}
{{- end }}

{{/* The namespace of the values, else that of Deckhouse, else (if it does not exist) of the release: (list $ said deckhouses). */}}
{{- define "proxy.namespace" -}}
{{- $root := index . 0 -}}
{{- if index . 1 -}}{{ index . 1 }}
{{- else if and (lookup "v1" "Namespace" "" "kube-system") (not (lookup "v1" "Namespace" "" (index . 2))) -}}{{ $root.Release.Namespace }}
{{- else -}}{{ index . 2 }}
{{- end -}}
{{- end }}

{{- define "proxy.secretNamespace" -}}{{ include "proxy.namespace" (list . .Values.registrySecret.namespace "d8-system") }}{{- end }}

{{- define "proxy.monitoringNamespace" -}}{{ include "proxy.namespace" (list . .Values.podMonitor.namespace "d8-monitoring") }}{{- end }}

{{/* Not empty if nodes get a token that does not expire. */}}
{{- define "proxy.nodeToken" -}}
{{- $enabled := .Values.nodeToken.enabled | toString -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (.Capabilities.APIVersions.Has "deckhouse.io/v1alpha1")) -}}true{{- end -}}
{{- end }}

{{/* The UUID from the values, or that of a Deckhouse cluster; empty if neither is known. */}}
{{- define "proxy.clusterUUID" -}}
{{- $published := lookup "v1" "ConfigMap" "kube-system" "d8-cluster-uuid" | default dict -}}
{{- .Values.bootstrap.clusterUUID | default (dig "data" "cluster-uuid" "" $published) | trim -}}
{{- end }}

{{/* Not empty if the bootstrap port is open. */}}
{{- define "proxy.bootstrap" -}}
{{- $enabled := .Values.bootstrap.enabled | toString -}}
{{- $isGuarded := or (include "proxy.clusterUUID" .) .Values.bootstrap.allowWithoutUUID -}}
{{- if and (eq $enabled "true") (not $isGuarded) -}}
{{- fail "bootstrap.enabled is true, but the UUID of the cluster is not known, so any machine could use the bootstrap port; set bootstrap.clusterUUID, or bootstrap.allowWithoutUUID" -}}
{{- end -}}
{{- if and (ne $enabled "false") $isGuarded -}}true{{- end -}}
{{- end }}

{{/* Not empty if the masters run a registry agent, or will run one. */}}
{{- define "proxy.registryAgent" -}}
{{- $enabled := .Values.registryAgent.enabled | toString -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (.Capabilities.APIVersions.Has "deckhouse.io/v1alpha1")) -}}true{{- end -}}
{{- end }}

{{/* The ConfigMap with the CA with which Prometheus verifies the HTTPS port; empty if there is none. */}}
{{- define "proxy.monitoringCA" -}}
{{- if .Values.podMonitor.caConfigMap -}}{{ .Values.podMonitor.caConfigMap }}
{{- else if eq (include "proxy.tlsMode" .) "generated" -}}{{ include "proxy.name" . }}-ca
{{- end -}}
{{- end }}

{{/* Not empty if there is a PodMonitor. */}}
{{- define "proxy.podMonitor" -}}
{{- if and .Values.podMonitor.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") -}}true{{- end -}}
{{- end }}

{{/* The ConfigMap that d8 reads before it looks for pods: (list $ ca); the CA may be empty. */}}
{{- define "proxy.publishedConfig" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.publishedConfig.endpoints }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "proxy.name" $root }}-config
  namespace: {{ $root.Release.Namespace | quote }}
  labels: {{- include "proxy.labels" $root | nindent 4 }}
data:
  endpoints: {{ toJson . | quote }}
  {{- with $root.Values.publishedConfig.ca | default (index $ 1) }}
  ca.crt: {{ . | quote }}
  {{- end }}
  {{- with $root.Values.publicEndpoint.host }}
  publicEndpoint: {{ printf "https://%s" . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* "true" if the sidecar checks permissions on subresources of the Deployment. */}}
{{- define "proxy.asksForResources" -}}
{{- if eq .Values.kubeRbacProxy.authorization "resources" -}}
{{- if include "proxy.hardened" . }}
{{- fail "kubeRbacProxy.authorization is resources and loopback is hardened, but the kube-rbac-proxy of Deckhouse has no certificate for the service; use authorization: paths with the image of the chart, or loopback: plain" }}
{{- end -}}
{{- if contains "brancz/kube-rbac-proxy" .Values.kubeRbacProxy.image }}
{{- fail (printf "kubeRbacProxy.authorization is resources, which only the kube-rbac-proxy of Deckhouse supports, but kubeRbacProxy.image is %s; set the image of Deckhouse" .Values.kubeRbacProxy.image) }}
{{- end -}}
true
{{- end -}}
{{- end }}

{{/* The subresource that the sidecar of Deckhouse checks for each path; a path with a final slash includes all paths below it. */}}
{{- define "proxy.guardedPaths" -}}
/healthz: http
/package: http
/manifest: http
/metrics: prometheus-metrics
/explain: explain
/status: status-page
/v1/images/: cli-binary
/v1/packages/: packages
{{- if .Values.distribution.enabled }}
/v2/: distribution
{{- end }}
{{- end }}
