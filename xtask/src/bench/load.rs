//! The loads: nginx and wrk, with and without a new connection for every request, on loopback and over a veth pair,
//! and large answers.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Churn,
    ChurnVeth,
    KeepAlive,
    Large,
}

impl Kind {
    pub const ALL: &[Kind] = &[Kind::Churn, Kind::ChurnVeth, Kind::KeepAlive, Kind::Large];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Churn => "a new connection per request, loopback",
            Kind::ChurnVeth => "a new connection per request, veth",
            Kind::KeepAlive => "kept connections, loopback",
            Kind::Large => "8 MiB answers by sendfile, loopback",
        }
    }
}

/// The size of a large answer.
const LARGE_BYTES: u64 = 8 << 20;

/// nginx at work.
pub struct Load {
    kind: Kind,
    nginx: Child,
    /// The namespace of the client, where there is one.
    netns: Option<Netns>,
    url: String,
}

/// A namespace of the client's, with a veth pair to ours.
struct Netns {
    name: String,
}

const PORT: u16 = 18_099;

impl Load {
    pub fn start(kind: Kind, folder: &Path) -> Result<Load> {
        let netns = match kind {
            Kind::ChurnVeth => Some(Netns::new()?),
            _ => None,
        };
        let address = match netns {
            Some(_) => SERVER,
            None => "127.0.0.1",
        };
        let large = folder.join("large");
        if kind == Kind::Large {
            let file = File::create(&large).context("cannot make the large file")?;
            file.set_len(LARGE_BYTES)
                .context("cannot fill the large file")?;
        }
        let conf = folder.join("nginx.conf");
        fs::write(&conf, config(kind, folder, address))
            .with_context(|| format!("cannot write {}", conf.display()))?;
        let log = File::create(folder.join("nginx.log")).context("cannot make nginx.log")?;
        let nginx = Command::new("nginx")
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start nginx")?;
        let load = Load {
            kind,
            nginx,
            netns,
            url: format!(
                "http://{address}:{PORT}/{}",
                if kind == Kind::Large { "large" } else { "" }
            ),
        };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect((address, PORT)).is_err() {
            if Instant::now() > until {
                bail!(
                    "nginx does not listen on {address}:{PORT}; see {}",
                    folder.join("nginx.log").display()
                );
            }
            sleep(Duration::from_millis(50));
        }
        Ok(load)
    }

    /// Requests a second.
    pub fn rate(&self, duration: Duration) -> Result<f64> {
        let connections = if self.kind == Kind::Large { "8" } else { "64" };
        let mut command = match &self.netns {
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &netns.name, "wrk"]);
                command
            }
            None => Command::new("wrk"),
        };
        command
            .args(["-t2", "-c", connections, "-d"])
            .arg(format!("{}s", duration.as_secs()))
            .arg(&self.url);
        let text = command::read(&mut command)?;
        parse_rate(&text).with_context(|| format!("wrk said no rate:\n{text}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.nginx.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.nginx.wait();
    }
}

fn parse_rate(text: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))?;
    line.trim().parse().ok()
}

fn config(kind: Kind, folder: &Path, address: &str) -> String {
    let keepalive = match kind {
        Kind::KeepAlive => "keepalive_timeout 60; keepalive_requests 100000000;",
        _ => "keepalive_timeout 0;",
    };
    let root: PathBuf = folder.to_owned();
    format!(
        "daemon off; user root; worker_processes 2; pid {0}/nginx.pid; error_log {0}/nginx.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off; sendfile on; {keepalive}\n\
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0};\n\
         uwsgi_temp_path {0}; scgi_temp_path {0};\n\
         server {{ listen {address}:{PORT} reuseport backlog=4096;\n\
         location / {{ return 200 \"hello\"; }}\n\
         location = /large {{ root {0}; }} }} }}\n",
        root.display()
    )
}

const SERVER: &str = "198.18.77.1";

impl Netns {
    fn new() -> Result<Netns> {
        let name = format!("tracer-bench-{}", std::process::id());
        let netns = Netns { name: name.clone() };
        let ip = |args: &str| command::read(Command::new("ip").args(args.split(' ')));
        ip(&format!("netns add {name}"))?;
        ip(&format!(
            "link add bench0 type veth peer name bench1 netns {name}"
        ))?;
        ip(&format!("addr add {SERVER}/30 dev bench0"))?;
        ip("link set bench0 up")?;
        ip(&format!("-n {name} addr add 198.18.77.2/30 dev bench1"))?;
        ip(&format!("-n {name} link set bench1 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(netns)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        for args in [
            &["link", "del", "bench0"][..],
            &["netns", "del", &self.name],
        ] {
            let _ = command::capture(Command::new("ip").args(args));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_rate;

    #[test]
    fn the_rate_is_taken_from_what_wrk_says() {
        let text = "Running 1s test\n  30000 requests in 1.00s\nRequests/sec:  29875.51\nTransfer/sec: 5MB\n";
        assert_eq!(parse_rate(text), Some(29_875.51));
        assert_eq!(parse_rate("unable to connect"), None);
    }
}
