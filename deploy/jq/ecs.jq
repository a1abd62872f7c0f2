# From tracer's events to the Elastic Common Schema: jq -c -f ecs.jq events.ndjson
# One document for every tcp_* event. What ECS has no name for is below `tracer`, as it was.

# Without what is unknown.
def known: walk(if type == "object" then with_entries(select(.value != null and .value != {})) else . end);

# nginx ends a connection: its socket is the server's end, so that the peer is client and source.
def ends:
  {address: .local_addr, ip: .local_addr, port: .local_port, bytes: .tx_bytes} as $local
  | {address: .peer_addr, ip: .peer_addr, port: .peer_port, bytes: .rx_bytes} as $peer
  | if .role == "server" then {source: $peer, destination: $local, client: $peer, server: $local}
    elif .role == "client" then {source: $local, destination: $peer, client: $local, server: $peer}
    else {source: $local, destination: $peer} end;

def failed: .errno != null or .how == "rst" or .how == "timeout" or .event == "tcp_connect_failed";

def is_end: .event == "tcp_close" or .event == "tcp_connect_failed";

select(.event | startswith("tcp_"))
| ends + {
    "@timestamp": .ts,
    ecs: {version: "8.11.0"},
    message: .story,
    event: {
      kind: "event",
      category: ["network"],
      type: (["connection", if is_end then "end" else "info" end] + if .errno then ["error"] else [] end),
      action: (.event | gsub("_"; "-")),
      module: "tracer",
      dataset: "tracer.events",
      # boot, socket and event: written once.
      id: (if .conn then "\(.conn)-\(.event)-\(.seq)" else null end),
      sequence: .seq,
      reason: .reason,
      end: (if is_end then .ts else null end),
      duration: (if .age_ms then .age_ms * 1000000 else null end),
      outcome: (if failed then "failure" else "success" end)
    },
    error: {code: .errno, type: .errno},
    network: {
      transport: "tcp",
      type: .family,
      community_id: .community_id,
      bytes: (if .rx_bytes and .tx_bytes then .rx_bytes + .tx_bytes else null end)
    },
    host: {name: .node, boot: {id: .boot_id}},
    process: {pid: .pid, name: .comm, executable: .exe, thread: {id: .tid}},
    user: {id: (if .uid then .uid | tostring else null end)},
    container: {id: .container_id, name: .container_name, runtime: .runtime},
    orchestrator: {
      type: (if .pod_uid then "kubernetes" else null end),
      namespace: .pod_namespace,
      resource: {type: (if .pod_uid then "pod" else null end), id: .pod_uid, name: .pod}
    },
    tracer: .
  }
| known
