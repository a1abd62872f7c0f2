# From tracer's events to OpenTelemetry logs, as OTLP's JSON: jq -c -f otel.jq events.ndjson
# One ResourceLogs for every tcp_* event. What the semantic conventions have no name for is `tracer.KEY`.

def value:
  if type == "string" then {stringValue: .}
  elif type == "boolean" then {boolValue: .}
  elif type == "number" then {intValue: tostring}
  elif type == "array" then {arrayValue: {values: map(value)}}
  else {kvlistValue: {values: (to_entries | map({key, value: (.value | value)}))}} end;

# Without what is unknown.
def attributes: to_entries | map(select(.value != null) | {key, value: (.value | value)});

# All nine digits: a number of jq could not hold them.
def unix_nano: (sub("\\.[0-9]+"; "") | fromdate | tostring) + capture("\\.(?<ns>[0-9]+)Z").ns;

def of_role: if .role == "server" then
    {"client.address": .peer_addr, "client.port": .peer_port, "server.address": .local_addr, "server.port": .local_port}
  elif .role == "client" then
    {"client.address": .local_addr, "client.port": .local_port, "server.address": .peer_addr, "server.port": .peer_port}
  else {} end;

select(.event | startswith("tcp_"))
| (.errno != null or .how == "rst" or .how == "timeout") as $failed
| {resourceLogs: [{
    resource: {attributes: ({
      "service.name": "tracer",
      "host.name": .node,
      "container.id": .container_id,
      "container.name": .container_name,
      "k8s.pod.uid": .pod_uid,
      "k8s.pod.name": .pod,
      "k8s.namespace.name": .pod_namespace
    } | attributes)},
    scopeLogs: [{
      scope: {name: "tracer"},
      logRecords: [{
        timeUnixNano: (.ts | unix_nano),
        observedTimeUnixNano: (.ts | unix_nano),
        severityNumber: (if $failed then 13 else 9 end),
        severityText: (if $failed then "WARN" else "INFO" end),
        eventName: (.event | sub("_"; ".")),
        body: (.story // .event | value),
        attributes: (({
          "network.transport": "tcp",
          "network.type": .family,
          "network.local.address": .local_addr,
          "network.local.port": .local_port,
          "network.peer.address": .peer_addr,
          "network.peer.port": .peer_port,
          "error.type": .errno,
          "process.pid": .pid,
          "process.executable.name": .comm,
          "process.executable.path": .exe,
          "process.user.id": .uid
        } + of_role | attributes)
        + (del(.v, .event, .ts, .node, .story, .container_id, .container_name, .pod_uid, .pod, .pod_namespace, .family,
               .local_addr, .local_port, .peer_addr, .peer_port, .errno, .pid, .comm, .exe, .uid)
           | with_entries(.key |= "tracer." + .) | attributes))
      }]
    }]
  }]}
