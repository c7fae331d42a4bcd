{{/* A component's image: its own whole reference, or its name below the registry. */}}
{{- define "contiv.image" -}}
{{- $images := .root.Values.images -}}
{{- $image := .image | default (printf "%s/%s:%s" $images.registry .name ($images.tag | default .root.Chart.AppVersion)) -}}
{{- if hasSuffix ":latest" $image }}
{{- fail (printf "image %s: latest says nothing of what runs, and differs between nodes; give it a version" $image) }}
{{- end }}
{{- $image -}}
{{- end }}

{{/* Labels of pods have no version in them: a new chart that changes nothing of a pod must not replace it. */}}
{{- define "contiv.podLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: contiv-vpp
{{- end }}

{{- define "contiv.labels" -}}
{{ include "contiv.podLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Address and port of admin endpoints, as a flag takes them. */}}
{{- define "contiv.admin" -}}
{{- if contains ":" .host }}[{{ .host }}]{{ else }}{{ .host }}{{ end }}:{{ .port }}
{{- end }}

{{/* kubelet asks on the node's own network; the wildcards are no address to ask at. */}}
{{- define "contiv.probe" -}}
httpGet:
  {{- if not (has .admin.host (list "0.0.0.0" "::")) }}
  host: {{ .admin.host | quote }}
  {{- end }}
  port: {{ .admin.port }}
  path: {{ .path }}
timeoutSeconds: 5
{{- end }}

{{/* How a pod on the node's network finds the API server. */}}
{{- define "contiv.apiServer" -}}
{{- if .Values.apiServer.host }}
- {name: KUBERNETES_SERVICE_HOST, value: {{ .Values.apiServer.host | quote }}}
- {name: KUBERNETES_SERVICE_PORT, value: {{ .Values.apiServer.port | quote }}}
{{- end }}
{{- end }}

{{- define "contiv.pull" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Pods that a node needs before it is ready, and as long as it lives. */}}
{{- define "contiv.everywhere" -}}
tolerations:
  - operator: Exists
priorityClassName: system-node-critical
{{- end }}

{{/* What each node's uplink is, by the name of its file. */}}
{{- define "contiv.uplinks" -}}
{{- $default := .Values.uplink.interface -}}
{{- range $node, $own := .Values.uplink.nodes }}
{{- $interface := $own.interface | default $default }}
{{- if not $interface }}
{{- fail (printf "uplink.nodes.%s names no interface and uplink.interface is empty: set one of them" $node) }}
{{- end }}
{{ $node }}.json: {{ dict "interface" $interface "addresses" ($own.addresses | default list) "gateways" ($own.gateways | default list) | toJson | quote }}
{{- end }}
{{- end }}

{{/* A container that takes back what the network left on its node. */}}
{{- define "contiv.cleanup" -}}
{{- $cni := .root.Values.node.cni -}}
image: {{ .image }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
command:
  - /usr/bin/contiv-node
  - cleanup
  - --cni-conf-dir={{ $cni.confDir }}
  - --cni-bin-dir={{ $cni.binDir }}
  {{- if .wait }}
  - --wait
  {{- end }}
securityContext: {privileged: true}
volumeMounts:
  - {name: state, mountPath: /var/lib/contiv}
  - {name: cni-conf, mountPath: {{ $cni.confDir }}}
  - {name: cni-bin, mountPath: {{ $cni.binDir }}}
{{- end }}
