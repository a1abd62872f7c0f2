//! nginx as a server and as a proxy.

use super::{
    case::{Case, Side, judge},
    host::{GET, GET_BIG, HALF_A_BODY, HALF_A_HEADER, Host, PYTHON},
    tracer, version,
};
use crate::{
    Test,
    lab::{
        expect::{
            ABORT_LINGER0, ABORT_UNREAD, FIN_LOCAL, FIN_PEER, FIN_PEER_RST, RST_PEER,
            RST_PEER_AFTER_OUR_FIN,
        },
        needs::Need,
    },
};

/// What differs from the defaults.
const TIMEOUTS: &str = r#"
nginx.client_header_timeout = "2s"
nginx.client_body_timeout = "1500ms"
nginx.keepalive_timeout = "2s"
nginx.send_timeout = "2500ms"
nginx.proxy_read_timeout = "2s"
nginx.proxy_send_timeout = "2500ms"
nginx.upstream_keepalive_timeout = "1500ms"
"#;

pub fn test() -> Test {
    let needs = &[
        Need::Program("ip"),
        Need::Program("nginx"),
        Need::File(PYTHON),
    ];
    Test::new("servers::nginx", needs, nginx)
}

const CONFIG: &str = "
user root;
worker_processes 1;
daemon off;
pid nginx.pid;
error_log error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  root .;
  client_max_body_size 64m;
  server { listen 8001; client_header_timeout 2s; }
  server { listen 8002; client_header_timeout 2s; }
  server { listen 8003; client_body_timeout 1500ms; location / { proxy_pass http://127.0.0.1:9000; } }
  server { listen 8004; keepalive_timeout 2s; }
  server { listen 8005; send_timeout 2500ms; }
  server { listen 8006; send_timeout 2500ms; reset_timedout_connection on; }
  server { listen 8007; location / { proxy_pass http://127.0.0.1:9007; proxy_read_timeout 2s; } }
  server { listen 8008; location / { proxy_pass http://127.0.0.1:9008; proxy_read_timeout 2s; } }
  server { listen 8009; location / { proxy_pass http://127.0.0.1:9009; proxy_send_timeout 2500ms; } }
  upstream kept { server 127.0.0.1:9010; keepalive 32; keepalive_timeout 1500ms; }
  server { listen 8010; location / { proxy_pass http://kept; proxy_http_version 1.1; proxy_set_header Connection ''; } }
}
";

fn nginx() {
    let mut host = Host::new();
    let config = host.write("nginx.conf", CONFIG);
    host.write("index.html", "ok");
    host.write("big", &"x".repeat(16 << 20));
    let mut command = host.netns.command("nginx");
    command
        .arg("-p")
        .arg(host.folder.path())
        .args(["-c", &config]);
    host.start(&mut command);
    host.backend(9007, &["silent"]);
    host.backend(9008, &["late", "3"]);
    host.backend(9009, &["deaf", "5"]);
    host.backend(9010, &["prompt", "0.3"]);
    host.wait_for((8001..=8010).chain(9007..=9010));
    let tracer = tracer(&host, TIMEOUTS);
    let upload = "POST / HTTP/1.1\\r\\nHost: lab\\r\\nConnection: close\\r\\nContent-Length: 9000000\\r\\n\\r\\n{9000000}";
    host.client(8001, "", &["read"]);
    host.client(8002, HALF_A_HEADER, &["read"]);
    host.client(8003, HALF_A_BODY, &["read"]);
    host.client(8004, GET, &["read"]);
    host.client(8005, GET_BIG, &["deaf", "5"]);
    host.client(8006, GET_BIG, &["deaf", "5"]);
    host.client(8007, GET, &["hold", "4"]);
    host.client(8008, GET, &["hold", "4"]);
    host.client(8009, upload, &["read"]);
    host.client(8010, GET, &["hold", "4"]);
    let cases = [
        Case::new("client_header_timeout 2s; (nothing comes)", 8001)
            .server(
                Side::of("nginx", FIN_LOCAL, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("nginx.client_header_timeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("nginx.client_header_timeout"),
            ),
        Case::new("client_header_timeout 2s; (half a header)", 8002)
            .server(
                Side::of("nginx", FIN_LOCAL, "local_no_answer")
                    .clock("idle_rx_ms", 2000)
                    .hint("nginx.client_header_timeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_no_answer")
                    .clock("idle_tx_ms", 2000)
                    .hint("nginx.client_header_timeout"),
            ),
        Case::new("client_body_timeout 1500ms; (half a body)", 8003)
            .server(
                Side::of("nginx", FIN_LOCAL, "local_no_answer")
                    .clock("idle_rx_ms", 1500)
                    .hint("nginx.client_body_timeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_no_answer")
                    .clock("idle_tx_ms", 1500)
                    .hint("nginx.client_body_timeout"),
            ),
        Case::new("keepalive_timeout 2s;", 8004)
            .server(
                Side::of("nginx", FIN_LOCAL, "local_idle_close")
                    .clock("idle_tx_ms", 2000)
                    .hint("nginx.keepalive_timeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_idle_close")
                    .clock("idle_rx_ms", 2000)
                    .hint("nginx.keepalive_timeout"),
            ),
        Case::new("send_timeout 2500ms;", 8005)
            .server(
                Side::of("nginx", RST_PEER_AFTER_OUR_FIN, "local_idle_close")
                    .clock("idle_tx_ms", 2500)
                    .hint("nginx.send_timeout"),
            )
            .client(Side::plain("client", ABORT_UNREAD)),
        Case::new("send_timeout 2500ms; reset_timedout_connection on;", 8006)
            .server(
                Side::of("nginx", ABORT_LINGER0, "local_idle_close")
                    .clock("idle_tx_ms", 2500)
                    .hint("nginx.send_timeout"),
            )
            .client(Side::of("client", RST_PEER, "peer_idle_close").clock("idle_rx_ms", 2500)),
        Case::new("proxy_read_timeout 2s;", 9007)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("nginx.proxy_read_timeout"),
            )
            .client(
                Side::of("nginx", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("nginx.proxy_read_timeout"),
            ),
        Case::new("proxy_read_timeout 2s; (answered late)", 9008)
            .server(
                Side::of("backend", FIN_PEER_RST, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("nginx.proxy_read_timeout"),
            )
            .client(
                Side::of("nginx", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("nginx.proxy_read_timeout"),
            ),
        Case::new("proxy_send_timeout 2500ms;", 9009)
            .server(Side::of("backend", ABORT_UNREAD, "local_no_answer"))
            .client(
                Side::of("nginx", RST_PEER_AFTER_OUR_FIN, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2500)
                    .hint("nginx.proxy_send_timeout"),
            ),
        Case::new("upstream { keepalive_timeout 1500ms; }", 9010)
            .server(
                Side::of("backend", FIN_PEER, "peer_idle_close")
                    .clock("idle_tx_ms", 1500)
                    .hint("nginx.upstream_keepalive_timeout"),
            )
            .client(
                Side::of("nginx", FIN_LOCAL, "local_idle_close")
                    .clock("idle_rx_ms", 1500)
                    .hint("nginx.upstream_keepalive_timeout"),
            ),
    ];
    judge(&host, tracer, "nginx", &version("nginx", &["-v"]), &cases);
}
