{{/* The name of a component's objects: (list root component). */}}
{{- define "platform.name" -}}
{{ (index . 0).Release.Name }}-{{ index . 1 }}
{{- end }}

{{/* What selects a component's pods: (list root component). */}}
{{- define "platform.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* metadata of a component's object: (list root component), and a suffix of the name where there are more. */}}
{{- define "platform.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "platform.name" . }}{{ if gt (len .) 2 }}-{{ index . 2 }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels: {{- include "platform.labels" . | nindent 2 }}
{{- end }}

{{- define "platform.labels" -}}
{{- $root := index . 0 -}}
{{ include "platform.selector" . }}
app.kubernetes.io/part-of: stocktake
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* An image by tag, digest or both: (list root image). */}}
{{- define "platform.image" -}}
{{- $image := index . 1 -}}
{{ (index . 0).Values.imageRegistry | default $image.registry }}/{{ $image.repository }}
{{- with $image.tag }}:{{ . }}{{ end }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* What every pod's specification has: (list root component-values). */}}
{{- define "platform.pod" -}}
{{- $root := index . 0 -}}{{- $values := index . 1 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $values.user }}
  runAsUser: {{ int . }}
  runAsGroup: {{ int . }}
  fsGroup: {{ int . }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $values.pod }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every container has: (list root image). */}}
{{- define "platform.container" -}}
image: {{ include "platform.image" . }}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* A pod that runs a script of files/ beside MLflow's image and credentials: (list root script). */}}
{{- define "platform.script" -}}
{{- $root := index . 0 -}}
command: [python, /scripts/{{ index . 1 }}]
{{ include "platform.container" (list $root $root.Values.mlflow.image) }}
resources:
  requests: {cpu: 100m, memory: 128Mi}
  limits: {memory: 512Mi}
volumeMounts: {{- include "platform.clientMounts" $root | nindent 2 }}
{{- end }}

{{/* Volumes of what runs in MLflow's image, and where they are mounted. */}}
{{- define "platform.clientVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.mlflow.scratch }}}
- name: scripts
  configMap: {name: {{ include "platform.name" (list . "scripts") }}}
{{- with .Values.objectStore.caConfigMap }}
- name: ca
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "platform.clientMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: scripts, mountPath: /scripts, readOnly: true}
{{- if .Values.objectStore.caConfigMap }}
- {name: ca, mountPath: /ca, readOnly: true}
{{- end }}
{{- end }}

{{/* The middle of a StatefulSet's specification, up to its pod's: (list root component component-values). */}}
{{- define "platform.statefulSet" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $values := index . 2 -}}
replicas: 1
serviceName: {{ include "platform.name" . }}
selector:
  matchLabels: {{- include "platform.selector" . | nindent 4 }}
volumeClaimTemplates:
  - metadata:
      name: data
      labels: {{- include "platform.selector" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $values.storage.className }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests: {storage: {{ $values.storage.size }}}
{{- end }}

{{/* A Service with one port: (list root component port). */}}
{{- define "platform.service" -}}
apiVersion: v1
kind: Service
metadata: {{- include "platform.metadata" (list (index . 0) (index . 1)) | nindent 2 }}
spec:
  selector: {{- include "platform.selector" . | nindent 4 }}
  ports:
    - {name: {{ index . 3 }}, port: {{ index . 2 }}, targetPort: {{ index . 3 }}}
{{- end }}

{{/* The Secret of each password: what the values name, or else the one that is generated. That of the store has the
name under which stocktake's own pods look for it. */}}
{{- define "platform.databaseSecret" -}}
{{ .Values.mlflow.database.existingSecret | default (include "platform.name" (list . "postgresql")) }}
{{- end }}
{{- define "platform.gatewaySecret" -}}
{{ .Values.postgresql.gateway.existingSecret | default (include "platform.name" (list . "gateway")) }}
{{- end }}
{{- define "platform.s3Secret" -}}
{{ .Values.objectStore.existingSecret | default "s3-credentials" }}
{{- end }}
{{- define "platform.redisSecret" -}}
{{ .Values.redis.existingSecret | default (include "platform.name" (list . "redis")) }}
{{- end }}

{{/* The Secrets that are read, as JSON: which value names each, its name, its keys, and whether the server that asks
for it is of this release. */}}
{{- define "platform.secrets" -}}
{{- $all := list -}}
{{- if .Values.mlflow.enabled -}}
{{- $all = append $all (dict "field" "mlflow.database.existingSecret" "given" .Values.mlflow.database.existingSecret
    "name" (include "platform.databaseSecret" .) "keys" (list .Values.mlflow.database.passwordKey)
    "ours" .Values.postgresql.enabled) -}}
{{- if .Values.postgresql.enabled -}}
{{- $all = append $all (dict "field" "postgresql.gateway.existingSecret" "given" .Values.postgresql.gateway.existingSecret
    "name" (include "platform.gatewaySecret" .) "keys" (list .Values.postgresql.gateway.passwordKey) "ours" true) -}}
{{- end -}}
{{- end -}}
{{- if and (include "platform.usesS3" .) (not .Values.objectStore.podIdentity) -}}
{{- $all = append $all (dict "field" "objectStore.existingSecret" "given" .Values.objectStore.existingSecret
    "name" (include "platform.s3Secret" .) "keys" (list .Values.objectStore.accessKeyIdKey .Values.objectStore.secretAccessKeyKey)
    "ours" .Values.objectStore.enabled) -}}
{{- end -}}
{{- if .Values.redis.enabled -}}
{{- $all = append $all (dict "field" "redis.existingSecret" "given" .Values.redis.existingSecret
    "name" (include "platform.redisSecret" .) "keys" (list .Values.redis.passwordKey) "ours" true) -}}
{{- end -}}
{{ dict "secrets" $all | toJson }}
{{- end }}

{{- define "platform.usesS3" -}}
{{ if or .Values.mlflow.enabled .Values.objectStore.enabled }}yes{{ end }}
{{- end }}

{{/* Every bucket once. */}}
{{- define "platform.buckets" -}}
{{- $own := ternary (list .Values.mlflow.artifacts.bucket) list .Values.mlflow.enabled -}}
{{ concat $own .Values.objectStore.buckets | uniq | join "," }}
{{- end }}

{{/* Where S3 is and who asks. */}}
{{- define "platform.s3Endpoint" -}}
{{- if .Values.objectStore.enabled -}}
http://{{ include "platform.name" (list . "object-store") }}.{{ .Release.Namespace }}:8333
{{- else -}}
{{ .Values.objectStore.endpoint }}
{{- end }}
{{- end }}

{{- define "platform.s3Credentials" -}}
{{- $secret := include "platform.s3Secret" . -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ .Values.objectStore.accessKeyIdKey }}}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ .Values.objectStore.secretAccessKeyKey }}}}
{{- end }}

{{/* Environment of what runs in MLflow's image: boto3 reads the AWS names, MLflow the endpoint. */}}
{{- define "platform.s3Env" -}}
- {name: HOME, value: /tmp}
- {name: PYTHONUNBUFFERED, value: "1"}
- {name: AWS_DEFAULT_REGION, value: {{ .Values.objectStore.region | quote }}}
{{- with include "platform.s3Endpoint" . }}
- {name: AWS_ENDPOINT_URL_S3, value: {{ . | quote }}}
- {name: MLFLOW_S3_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- if .Values.objectStore.caConfigMap }}
- {name: AWS_CA_BUNDLE, value: /ca/ca.crt}
{{- end }}
{{- if not .Values.objectStore.podIdentity }}
{{ include "platform.s3Credentials" . }}
{{- end }}
{{- end }}

{{/* libpq takes the password and the mode from the environment, so the URI holds no secret and needs no escapes. */}}
{{- define "platform.databaseEnv" -}}
{{- $database := .Values.mlflow.database -}}
{{- $host := $database.host | default (include "platform.name" (list . "postgresql")) -}}
- name: MLFLOW_BACKEND_STORE_URI
  value: postgresql+psycopg2://{{ $database.user }}@{{ $host }}:{{ int $database.port }}/{{ $database.name }}
- {name: PGSSLMODE, value: {{ $database.sslMode }}}
- {name: PGCONNECT_TIMEOUT, value: "10"}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "platform.databaseSecret" . }}, key: {{ $database.passwordKey }}}
{{- end }}

{{/* Host headers that MLflow answers to, which it compares with their port. */}}
{{- define "platform.allowedHosts" -}}
{{- $name := include "platform.name" (list . "mlflow") -}}
{{- $space := printf "%s.%s" $name .Release.Namespace -}}
{{- $service := printf "%s.svc" $space -}}
{{- $hosts := list $name $space $service (printf "%s.%s" $service .Values.clusterDomain) "localhost" "127.0.0.1" -}}
{{- $hosts = concat $hosts (list .Values.mlflow.host | compact) -}}
{{- $patterns := list -}}
{{- range $hosts }}{{ $patterns = concat $patterns (list . (printf "%s:*" .)) }}{{ end -}}
{{ concat $patterns .Values.mlflow.allowedHosts | uniq | join "," }}
{{- end }}

{{/* Origins of browsers: MLflow refuses changes from its own page where this does not name it. */}}
{{- define "platform.origins" -}}
{{- $own := list -}}
{{- with .Values.mlflow.host }}{{ $own = list (printf "https://%s" .) (printf "http://%s" .) }}{{ end -}}
{{ concat $own .Values.mlflow.corsAllowedOrigins | uniq | join "," }}
{{- end }}
