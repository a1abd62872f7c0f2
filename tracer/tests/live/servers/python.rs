//! gunicorn, and the requests library.

use super::{
    case::{Case, Side, TIMES, judge},
    host::{GET, Host, PYTHON},
    tracer, version,
};
use crate::{
    Test,
    lab::{
        expect::{CONNECT_CANCELLED, FIN_LOCAL, FIN_PEER},
        needs::Need,
    },
};

const GUNICORN: &str = "/usr/bin/gunicorn";
const REQUESTS: &str = "/usr/lib/python3/dist-packages/requests";

pub fn tests() -> Vec<Test> {
    let ip = Need::Program("ip");
    let gunicorn_needs = &[ip, Need::File(PYTHON), Need::File(GUNICORN)];
    let requests_needs = &[
        ip,
        Need::Program("nft"),
        Need::File(PYTHON),
        Need::File(REQUESTS),
    ];
    vec![
        Test::new("servers::gunicorn", gunicorn_needs, gunicorn),
        Test::new("servers::requests", requests_needs, requests),
    ]
}

fn gunicorn() {
    let mut host = Host::new();
    host.write("app.py", include_str!("programs/gunicorn_app.py"));
    for (port, options) in [
        (8001, "--workers 5 --timeout 2 app:slow"),
        (8002, "--workers 5 --timeout 2 app:deaf"),
        (8003, "--worker-class gthread --threads 5 app:prompt"),
    ] {
        let mut command = host.netns.command(GUNICORN);
        command
            .args(["--bind", &format!("127.0.0.1:{port}")])
            .args(options.split(' '))
            .current_dir(host.folder.path());
        host.start(&mut command);
    }
    host.wait_for(8001..=8003);
    let tracer = tracer(&host, "gunicorn.timeout = \"2s\"");
    host.client(8001, GET, &["read"]);
    host.client(8002, GET, &["read"]);
    host.client(8003, GET, &["read"]);
    let cases = [
        Case::new("--timeout 2", 8001)
            .server(
                Side::of("gunicorn", FIN_LOCAL, "process_exit")
                    .clock("idle_rx_ms", 2000)
                    .also("killer_signal", "SIGABRT")
                    .also("killer_comm", "gunicorn"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_no_answer")
                    .clock("idle_tx_ms", 2000)
                    .hint("gunicorn.timeout"),
            ),
        Case::new("--timeout 2 (the worker ignores SIGABRT)", 8002)
            .server(
                Side::of("gunicorn", FIN_LOCAL, "process_exit")
                    .clock("idle_rx_ms", 3000)
                    .also("exit_signal", "SIGKILL")
                    .also("killer_comm", "gunicorn"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_no_answer")
                    .clock("idle_tx_ms", 3000)
                    .any_hint(),
            ),
        Case::new("--keep-alive 2 (its default, gthread)", 8003)
            .server(
                Side::of("gunicorn", FIN_LOCAL, "local_idle_close")
                    .clock("idle_tx_ms", 2000)
                    .hint("gunicorn.keepalive"),
            )
            .client(
                Side::of("client", FIN_PEER, "peer_idle_close")
                    .clock("idle_rx_ms", 2000)
                    .hint("gunicorn.keepalive"),
            ),
    ];
    judge(
        &host,
        tracer,
        "gunicorn",
        &version("gunicorn", &["--version"]),
        &cases,
    );
}

fn requests() {
    let mut host = Host::new();
    let script = host.write("client.py", include_str!("programs/requests_client.py"));
    host.netns.nft(
        "table inet lab {\n  chain in {\n    type filter hook input priority 0\n    tcp dport 9002 drop\n  }\n}\n",
    );
    host.backend(9001, &["silent"]);
    host.wait_for([9001]);
    let tracer = tracer(&host, "\"requests.timeout\" = \"2s\"");
    let mut command = host.netns.command(PYTHON);
    host.start(command.args([&script, &TIMES.to_string(), "9001", "9002"]));
    let cases = [
        Case::new("timeout=2 (no response)", 9001)
            .server(
                Side::of("backend", FIN_PEER, "peer_gave_up_waiting")
                    .clock("idle_rx_ms", 2000)
                    .hint("requests.timeout"),
            )
            .client(
                Side::of("python3", FIN_LOCAL, "local_gave_up_waiting")
                    .clock("idle_tx_ms", 2000)
                    .hint("requests.timeout"),
            ),
        Case::new("timeout=2 (no connection)", 9002).client(
            Side::plain("python3", CONNECT_CANCELLED)
                .clock("end_age_ms", 2000)
                .hint("requests.timeout"),
        ),
    ];
    judge(
        &host,
        tracer,
        "requests",
        &version(
            "python3",
            &[
                "-c",
                "import requests; print('requests', requests.__version__)",
            ],
        ),
        &cases,
    );
}
