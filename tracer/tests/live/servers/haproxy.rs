//! HAProxy, which has no timeouts but those that it is given.

use super::{
    case::{Case, Side, judge},
    host::{GET, HALF_A_HEADER, Host, PYTHON},
    tracer, version,
};
use crate::{
    Test,
    lab::{
        expect::{ABORT_LINGER0, FIN_LOCAL, FIN_PEER, RST_PEER},
        needs::Need,
    },
};

/// What differs from the defaults.
const TIMEOUTS: &str = r#"
"haproxy.timeout_http_request" = "1500ms"
"haproxy.timeout_http_keep_alive" = "2500ms"
haproxy.timeout_client = "3s"
haproxy.timeout_server = "2s"
"#;

pub fn test() -> Test {
    let needs = &[
        Need::Program("ip"),
        Need::Program("haproxy"),
        Need::File(PYTHON),
    ];
    Test::new("servers::haproxy", needs, haproxy)
}

const CONFIG: &str = "
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen silent_client
  bind 127.0.0.1:8001
  timeout http-request 1500ms
listen half_a_header
  bind 127.0.0.1:8002
  timeout http-request 1500ms
listen keep_alive
  bind 127.0.0.1:8003
  timeout http-keep-alive 2500ms
  server backend 127.0.0.1:9003
listen silent_server
  bind 127.0.0.1:8004
  timeout server 2s
  server backend 127.0.0.1:9004
listen late_server
  bind 127.0.0.1:8005
  timeout server 2s
  server backend 127.0.0.1:9005
listen stream
  mode tcp
  bind 127.0.0.1:8006
  timeout client 3s
  server backend 127.0.0.1:9006
";

fn haproxy() {
    let mut host = Host::new();
    let config = host.write("haproxy.cfg", CONFIG);
    let mut command = host.netns.command("haproxy");
    host.start(command.args(["-db", "-f", &config]));
    host.backend(9003, &["prompt", "0"]);
    host.backend(9004, &["silent"]);
    host.backend(9005, &["late", "3"]);
    host.backend(9006, &["silent"]);
    host.wait_for((8001..=8006).chain(9003..=9006));
    let tracer = tracer(&host, TIMEOUTS);
    host.client(8001, "", &["read"]);
    host.client(8002, HALF_A_HEADER, &["read"]);
    host.client(8003, GET, &["read"]);
    host.client(8004, GET, &["hold", "4"]);
    host.client(8005, GET, &["hold", "4"]);
    host.client(8006, GET, &["read"]);
    let cases = [
        Case::new("timeout http-request 1500ms (nothing comes)", 8001)
            .server(
                Side::of("haproxy", FIN_LOCAL, "no_request")
                    .clock("end_age_ms", 1500)
                    .hint("haproxy.timeout_http_request"),
            )
            .client(
                Side::of("client", FIN_PEER, "no_request")
                    .clock("end_age_ms", 1500)
                    .hint("haproxy.timeout_http_request"),
            ),
        Case::new("timeout http-request 1500ms (half a header)", 8002)
            .server(Side::of("haproxy", FIN_LOCAL, "normal").clock("end_age_ms", 1500))
            .client(Side::of("client", FIN_PEER, "normal").clock("end_age_ms", 1500)),
        Case::new("timeout http-keep-alive 2500ms", 8003)
            .server(
                Side::of("haproxy", FIN_LOCAL, "local_idle_close")
                    .clock("idle_tx_ms", 2500)
                    .hint("haproxy.timeout_http_keep_alive"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_idle_close")
                    .clock("idle_rx_ms", 2500)
                    .hint("haproxy.timeout_http_keep_alive"),
            ),
        Case::new("timeout server 2s", 9004)
            .server(
                Side::of("backend", RST_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("haproxy.timeout_server"),
            )
            .client(
                Side::of("haproxy", ABORT_LINGER0, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("haproxy.timeout_server"),
            ),
        Case::new("timeout server 2s (answered late)", 9005)
            .server(
                Side::of("backend", RST_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("haproxy.timeout_server"),
            )
            .client(
                Side::of("haproxy", ABORT_LINGER0, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("haproxy.timeout_server"),
            ),
        Case::new("mode tcp, timeout client 3s", 8006)
            .server(
                Side::of("haproxy", FIN_LOCAL, "local_no_answer")
                    .clock("idle_rx_ms", 3000)
                    .hint("haproxy.timeout_client"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_no_answer")
                    .clock("idle_tx_ms", 3000)
                    .hint("haproxy.timeout_client"),
            ),
        Case::new("mode tcp, timeout client 3s (behind it)", 9006)
            .server(Side::of("backend", FIN_PEER, "peer_gave_up_waiting").clock("idle_rx_ms", 3000))
            .client(
                Side::of("haproxy", FIN_LOCAL, "local_gave_up_waiting").clock("idle_tx_ms", 3000),
            ),
    ];
    judge(
        &host,
        tracer,
        "HAProxy",
        &version("haproxy", &["-v"]),
        &cases,
    );
}
