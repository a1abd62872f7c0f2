//! Node's http.Server, the SuperAgent library, and web sockets with ws.

use std::process::Command;

use super::{
    case::{Case, Side, TIMES, judge},
    host::{GET, HALF_A_BODY, HALF_A_HEADER, Host, PYTHON},
    tracer, version,
};
use crate::{
    Test,
    lab::{
        expect::{FIN_LOCAL, FIN_PEER},
        needs::{Need, npm_modules},
    },
};

/// SuperAgent's older versions do not close what has timed out on today's Node.
const LIBRARIES: &[&str] = &["superagent@10.4.2", "ws@8.18.0"];

/// What differs from the defaults.
const TIMEOUTS: &str = r#"
node.headersTimeout = "2s"
[node.setTimeout]
value = "1500ms"
clock = "no_answer"
closer = "server"
[ws.heartbeat]
value = "2s"
clock = "idle"
closer = "server"
[superagent.timeout]
value = "2s"
clock = "waiting"
closer = "client"
[ws.handshakeTimeout]
value = "2500ms"
clock = "waiting"
closer = "client"
"#;

pub fn test() -> Test {
    let needs = &[
        Need::Program("ip"),
        Need::Program("node"),
        Need::File(PYTHON),
        Need::Npm(LIBRARIES),
    ];
    Test::new("servers::node", needs, node)
}

const UPGRADE: &str = "GET / HTTP/1.1\\r\\nHost: lab\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\
                       Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n";

fn node() {
    let mut host = Host::new();
    let node = |host: &Host, name: &str, text: &str| -> Command {
        let script = host.write(name, text);
        let mut command = host.netns.command("node");
        command.arg(script).env("NODE_PATH", npm_modules());
        command
    };
    let mut servers = node(
        &host,
        "servers.js",
        include_str!("programs/node_servers.js"),
    );
    host.start(&mut servers);
    for port in 9001..=9003 {
        host.backend(port, &["silent"]);
    }
    host.wait_for((8001..=8006).chain(9001..=9003));
    let tracer = tracer(&host, TIMEOUTS);
    let mut clients = node(
        &host,
        "clients.js",
        include_str!("programs/node_clients.js"),
    );
    host.start(clients.arg(TIMES.to_string()));
    host.client(8001, GET, &["read"]);
    host.client(8002, "", &["read"]);
    host.client(8003, HALF_A_HEADER, &["read"]);
    host.client(8004, HALF_A_BODY, &["read"]);
    host.client(8005, GET, &["read"]);
    host.client(8006, UPGRADE, &["read"]);
    let cases = [
        Case::new("keepAliveTimeout: 5000 (its default, and 1 s more)", 8001)
            .server(
                Side::of("node-servers", FIN_LOCAL, "local_idle_close")
                    .clock("idle_tx_ms", 6000)
                    .hint("node.keepAliveTimeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_idle_close")
                    .clock("idle_rx_ms", 6000)
                    .hint("node.keepAliveTimeout"),
            ),
        Case::new("headersTimeout: 2000 (nothing comes)", 8002)
            .server(
                Side::of("node-servers", FIN_LOCAL, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("node.headersTimeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("node.headersTimeout"),
            ),
        Case::new("headersTimeout: 2000 (half a header)", 8003)
            .server(Side::of("node-servers", FIN_LOCAL, "normal").clock("end_age_ms", 2000))
            .client(Side::of("client", FIN_PEER, "normal").clock("end_age_ms", 2000)),
        Case::new("requestTimeout: 2000 (half a body)", 8004)
            .server(Side::of("node-servers", FIN_LOCAL, "normal").clock("end_age_ms", 2000))
            .client(Side::of("client", FIN_PEER, "normal").clock("end_age_ms", 2000)),
        Case::new("server.setTimeout(1500)", 8005)
            .server(
                Side::of("node-servers", FIN_LOCAL, "local_no_answer")
                    .clock("idle_rx_ms", 1500)
                    .hint("node.setTimeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_no_answer")
                    .clock("idle_tx_ms", 1500)
                    .hint("node.setTimeout"),
            ),
        Case::new("ws: ping every 2 s, terminate() without a pong", 8006)
            .server(
                Side::of("node-servers", FIN_LOCAL, "local_idle_close")
                    .clock("idle_tx_ms", 2000)
                    .hint("ws.heartbeat"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_idle_close")
                    .clock("idle_rx_ms", 2000)
                    .hint("ws.heartbeat"),
            ),
        Case::new("SuperAgent: timeout({response: 2000})", 9001)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("superagent.timeout"),
            )
            .client(
                Side::of("node-clients", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("superagent.timeout"),
            ),
        Case::new("SuperAgent: timeout({deadline: 2000})", 9002)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("superagent.timeout"),
            )
            .client(
                Side::of("node-clients", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("superagent.timeout"),
            ),
        Case::new("ws: handshakeTimeout: 2500", 9003)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2500)
                    .hint("ws.handshakeTimeout"),
            )
            .client(
                Side::of("node-clients", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2500)
                    .hint("ws.handshakeTimeout"),
            ),
    ];
    judge(
        &host,
        tracer,
        "Node",
        &format!(
            "Node {}, {}",
            version("node", &["--version"]),
            LIBRARIES.join(", ")
        ),
        &cases,
    );
}
