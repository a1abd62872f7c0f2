//! Go's net/http as server and client, and its HTTP/2 client.

use std::time::Duration;

use super::{
    case::{Case, Side, TIMES, judge},
    host::{GET, HALF_A_BODY, HALF_A_HEADER, Host, PYTHON},
    tracer, version,
};
use crate::{
    Test,
    lab::{
        expect::{CONNECT_CANCELLED, FIN_LOCAL, FIN_PEER, TIMEOUT_ORPHAN},
        needs::Need,
        program::build_go,
    },
};

/// What differs from the defaults.
const TIMEOUTS: &str = r#"
go.Transport.IdleConnTimeout = "2s"
go.Dialer.Timeout = "2s"
[go.Server.ReadTimeout]
value = "2s"
clock = "request"
closer = "server"
[go.Server.IdleTimeout]
value = "2s"
clock = "idle"
closer = "server"
[go.Client.Timeout]
value = "2s"
clock = "waiting"
closer = "client"
[go.Transport.ResponseHeaderTimeout]
value = "2500ms"
clock = "waiting"
closer = "client"
"#;

pub fn test() -> Test {
    let needs = &[
        Need::Program("ip"),
        Need::Program("nft"),
        Need::Program("go"),
        Need::File(PYTHON),
        Need::File("/usr/share/gocode/src/golang.org/x/net/http2"),
    ];
    Test::new("servers::go", needs, go)
}

/// Nothing reaches 9004; 8006 goes silent later.
const FIREWALL: &str = "table inet lab {
  chain in {
    type filter hook input priority 0
    tcp dport 9004 drop
  }
}
";
const SILENCE: &str = "table inet lab {
  chain in {
    tcp dport 8006 drop
    tcp sport 8006 drop
  }
}
";

fn go() {
    let mut host = Host::new();
    let servers = build_go(
        &host.folder,
        "go-servers",
        include_str!("programs/go_servers.go"),
    );
    let clients = build_go(
        &host.folder,
        "go-clients",
        include_str!("programs/go_clients.go"),
    );
    host.netns.nft(FIREWALL);
    // So that a FIN into the silence is given up soon.
    host.netns.run("sysctl -q net.ipv4.tcp_orphan_retries=1");
    let mut servers = host.netns.command(&servers.display().to_string());
    host.start(&mut servers);
    host.backend(9001, &["silent"]);
    host.backend(9002, &["silent"]);
    host.backend(9003, &["prompt", "0"]);
    host.wait_for((8001..=8006).chain(9001..=9003));
    let tracer = tracer(&host, TIMEOUTS);
    let mut clients = host.netns.command(&clients.display().to_string());
    let clients = host.start(clients.arg(TIMES.to_string()));
    clients.says("answered", Duration::from_secs(20));
    host.netns.nft(SILENCE);
    host.client(8001, "", &["read"]);
    host.client(8002, HALF_A_BODY, &["read"]);
    host.client(8003, HALF_A_HEADER, &["read"]);
    host.client(8004, GET, &["read"]);
    host.client(8005, GET, &["read"]);
    let cases = [
        Case::new("http.Server ReadTimeout: 2s (nothing comes)", 8001)
            .server(
                Side::of("go-servers", FIN_LOCAL, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("go.Server.ReadTimeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("go.Server.ReadTimeout"),
            ),
        Case::new("http.Server ReadTimeout: 2s (half a body)", 8002)
            .server(Side::of("go-servers", FIN_LOCAL, "normal").clock("end_age_ms", 2000))
            .client(Side::of("client", FIN_PEER, "normal").clock("end_age_ms", 2000)),
        Case::new("http.Server ReadHeaderTimeout: 2s (half a header)", 8003)
            .server(Side::of("go-servers", FIN_LOCAL, "normal").clock("end_age_ms", 2000))
            .client(Side::of("client", FIN_PEER, "normal").clock("end_age_ms", 2000)),
        Case::new("http.Server WriteTimeout: 2s (3 s of work)", 8004)
            .server(Side::of("go-servers", FIN_LOCAL, "local_no_answer").clock("idle_rx_ms", 3000))
            .client(Side::of("client", FIN_PEER, "peer_no_answer").clock("idle_tx_ms", 3000)),
        Case::new("http.Server IdleTimeout: 2s", 8005)
            .server(
                Side::of("go-servers", FIN_LOCAL, "local_idle_close")
                    .clock("idle_tx_ms", 2000)
                    .hint("go.Server.IdleTimeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_idle_close")
                    .clock("idle_rx_ms", 2000)
                    .hint("go.Server.IdleTimeout"),
            ),
        Case::new("http.Client Timeout: 2s", 9001)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("go.Client.Timeout"),
            )
            .client(
                Side::of("go-clients", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("go.Client.Timeout"),
            ),
        Case::new("http.Transport ResponseHeaderTimeout: 2500ms", 9002)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2500)
                    .hint("go.Transport.ResponseHeaderTimeout"),
            )
            .client(
                Side::of("go-clients", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2500)
                    .hint("go.Transport.ResponseHeaderTimeout"),
            ),
        Case::new("http.Transport IdleConnTimeout: 2s", 9003)
            .server(
                Side::of("backend", FIN_PEER, "peer_idle_close")
                    .clock("idle_tx_ms", 2000)
                    .hint("go.Transport.IdleConnTimeout"),
            )
            .client(
                Side::of("go-clients", FIN_LOCAL, "local_idle_close")
                    .clock("idle_rx_ms", 2000)
                    .hint("go.Transport.IdleConnTimeout"),
            ),
        Case::new("net.Dialer Timeout: 2s", 9004).client(
            Side::plain("go-clients", CONNECT_CANCELLED)
                .clock("end_age_ms", 2000)
                .hint("go.Dialer.Timeout"),
        ),
        Case::new("http2.Transport ReadIdleTimeout: 1s, PingTimeout: 2s", 8006).client(
            Side::of("go-clients", TIMEOUT_ORPHAN, "local_gave_up_waiting")
                .clock("idle_rx_ms", 3000),
        ),
    ];
    judge(&host, tracer, "Go", &version("go", &["version"]), &cases);
}
