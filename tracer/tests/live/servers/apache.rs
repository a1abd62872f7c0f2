//! Apache httpd with its event MPM.

use super::{
    case::{Case, Side, judge},
    host::{GET, GET_BIG, HALF_A_HEADER, Host, PYTHON},
    tracer, version,
};
use crate::{
    Test,
    lab::{
        expect::{ABORT_UNREAD, FIN_LOCAL, FIN_PEER, RST_PEER_AFTER_OUR_FIN},
        needs::Need,
    },
};

/// What differs from the defaults.
const TIMEOUTS: &str = r#"
apache.Timeout = "2s"
apache.RequestReadTimeout = "3s"
apache.proxy_timeout = "2s"
"#;

pub fn test() -> Test {
    let needs = &[
        Need::Program("ip"),
        Need::Program("apache2"),
        Need::File(PYTHON),
    ];
    Test::new("servers::apache", needs, apache)
}

const MODULES: [&str; 5] = [
    "mpm_event",
    "authz_core",
    "reqtimeout",
    "proxy",
    "proxy_http",
];

/// 8003 has the defaults. Without the accept filter a connection is accepted before its first byte has come.
const CONFIG: &str = "
ServerName lab
AcceptFilter http none
User www-data
Group www-data
PidFile apache.pid
ErrorLog error.log
DocumentRoot .
Listen 8001
Listen 8002
Listen 8003
Listen 8004
Listen 8005
<VirtualHost *:8001>
  RequestReadTimeout header=0 body=0
  Timeout 2
</VirtualHost>
<VirtualHost *:8002>
  RequestReadTimeout header=3
</VirtualHost>
<VirtualHost *:8004>
  Timeout 2
</VirtualHost>
<VirtualHost *:8005>
  ProxyTimeout 2
  ProxyPass / http://127.0.0.1:9005/
</VirtualHost>
";

fn apache() {
    let mut host = Host::new();
    let modules: String = MODULES
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let folder = host.folder.path().display().to_string();
    let config = format!("ServerRoot {folder}\nDefaultRuntimeDir {folder}\n{modules}{CONFIG}");
    let config = host.write("apache.conf", &config);
    host.write("index.html", "ok");
    host.write("big", &"x".repeat(16 << 20));
    let mut command = host.netns.command("apache2");
    host.start(command.args(["-D", "FOREGROUND", "-f", &config]));
    host.backend(9005, &["silent"]);
    host.wait_for((8001..=8005).chain([9005]));
    let tracer = tracer(&host, TIMEOUTS);
    host.client(8001, "", &["read"]);
    host.client(8002, HALF_A_HEADER, &["read"]);
    host.client(8003, GET, &["read"]);
    host.client(8004, GET_BIG, &["deaf", "5"]);
    host.client(8005, GET, &["hold", "4"]);
    let cases = [
        Case::new("Timeout 2 (nothing comes)", 8001)
            .server(
                Side::of("apache2", FIN_LOCAL, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("apache.Timeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "no_request")
                    .clock("end_age_ms", 2000)
                    .hint("apache.Timeout"),
            ),
        Case::new("RequestReadTimeout header=3 (half a header)", 8002)
            .server(Side::of("apache2", FIN_LOCAL, "normal").clock("end_age_ms", 3000))
            .client(Side::of("client", FIN_PEER, "normal").clock("end_age_ms", 3000)),
        Case::new("KeepAliveTimeout 5 (its default)", 8003)
            .server(
                Side::of("apache2", FIN_LOCAL, "local_idle_close")
                    .clock("idle_tx_ms", 5000)
                    .hint("apache.KeepAliveTimeout"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_idle_close")
                    .clock("idle_rx_ms", 5000)
                    .hint("apache.KeepAliveTimeout"),
            ),
        Case::new("Timeout 2 (the client does not read)", 8004)
            .server(
                Side::of("apache2", RST_PEER_AFTER_OUR_FIN, "local_idle_close")
                    .clock("idle_tx_ms", 2000)
                    .hint("apache.Timeout"),
            )
            .client(Side::plain("client", ABORT_UNREAD)),
        Case::new("ProxyTimeout 2", 9005)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("apache.proxy_timeout"),
            )
            .client(
                Side::of("apache2", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("apache.proxy_timeout"),
            ),
    ];
    judge(
        &host,
        tracer,
        "Apache httpd",
        &version("apache2", &["-v"]),
        &cases,
    );
}
