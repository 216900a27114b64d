{{- define "headcount.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Call with (dict "root" . "component" "gateway"). */}}
{{- define "headcount.selector" -}}
app.kubernetes.io/name: headcount
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "headcount.labels" -}}
{{ include "headcount.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "headcount.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "headcount.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "headcount.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* The counter nodes of this region, as the pods are named. */}}
{{- define "headcount.seeds" -}}
{{- $name := printf "%s-counter" (include "headcount.name" .) -}}
{{- $domain := .Values.counter.addressDomain | default (printf "%s.%s.svc" $name .Release.Namespace) -}}
{{- $seeds := list -}}
{{- range $index := until (int .Values.counter.replicas) -}}
{{- $seeds = append $seeds (printf "%s-%d.%s:7400" $name $index $domain) -}}
{{- end -}}
{{- join "," $seeds -}}
{{- end -}}

{{/* Variables of every node. */}}
{{- define "headcount.env" -}}
- name: HEADCOUNT_CONFIG
  value: /etc/headcount/headcount.toml
- name: HEADCOUNT_NODE__REGION
  value: {{ .Values.region | quote }}
- name: HEADCOUNT_NODE__DATA_DIR
  value: /var/lib/headcount
- name: HEADCOUNT_NODE__NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
- name: HEADCOUNT_LISTEN__ADMIN
  value: 0.0.0.0:9000
- name: HEADCOUNT_LISTEN__PEER
  value: 0.0.0.0:7400
- name: HEADCOUNT_SHUTDOWN__DRAIN_S
  value: {{ .Values.drainSeconds | quote }}
{{- end -}}

{{- define "headcount.probes" -}}
# Whether the process lives; never whether anything that it depends on does.
livenessProbe: { httpGet: { path: /healthz, port: admin }, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 3 }
readinessProbe: { httpGet: { path: /readyz, port: admin }, periodSeconds: 3, timeoutSeconds: 2, failureThreshold: 2 }
# Five minutes: a counter node reads its log before it listens.
startupProbe: { httpGet: { path: /healthz, port: admin }, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 150 }
lifecycle: { preStop: { sleep: { seconds: {{ .Values.preStopSeconds }} } } }
{{- end -}}

{{- define "headcount.grace" -}}
{{ add .Values.preStopSeconds .Values.drainSeconds 15 }}
{{- end -}}

{{- define "headcount.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: { matchLabels: {{ include "headcount.selector" . | fromYaml | toJson }} }
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: { matchLabels: {{ include "headcount.selector" . | fromYaml | toJson }} }
{{- end -}}
