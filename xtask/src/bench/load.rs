//! The loads: nginx and wrk, with and without a new connection for every request, on loopback and over a veth pair,
//! large answers, many idle connections; and our own.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    footprint::{self, Holders},
    own::{self, Own},
};
use crate::command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Churn,
    ChurnVeth,
    KeepAlive,
    /// The same beside many connections that do nothing.
    Idle,
    Large,
    Own(Own),
}

impl Kind {
    pub const ALL: &[Kind] = &[
        Kind::Churn,
        Kind::ChurnVeth,
        Kind::KeepAlive,
        Kind::Idle,
        Kind::Large,
        Kind::Own(Own::Splice),
        Kind::Own(Own::Accepts),
        Kind::Own(Own::Resets),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Churn => "a new connection per request, loopback",
            Kind::ChurnVeth => "a new connection per request, veth",
            Kind::KeepAlive => "kept connections, loopback",
            Kind::Idle => "kept connections beside idle ones, loopback",
            Kind::Large => "8 MiB answers by sendfile, loopback",
            Kind::Own(Own::Splice) => "one connection fed by splice, loopback",
            Kind::Own(Own::Accepts) => "accepted and closed at once, loopback",
            Kind::Own(Own::Resets) => "connected and reset at once, loopback",
        }
    }

    /// What its rate counts.
    pub fn unit(self) -> &'static str {
        match self {
            Kind::Own(Own::Splice) => "MiB/s",
            Kind::Own(_) => "connections/s",
            _ => "requests/s",
        }
    }

    /// Whether every request of nginx is a connection of its own, so that its count is that of the ends.
    pub fn is_churn(self) -> bool {
        matches!(self, Kind::Churn | Kind::ChurnVeth)
    }
}

/// The size of a large answer.
const LARGE_BYTES: u64 = 8 << 20;

/// A server at work.
pub struct Load {
    kind: Kind,
    server: Child,
    /// The namespace of the client, where there is one.
    netns: Option<Netns>,
    address: &'static str,
    _idle: Option<Holders>,
}

/// A namespace of the client's, with a veth pair to ours.
struct Netns {
    name: String,
}

pub const PORT: u16 = 18_099;

impl Load {
    /// `idle`: connections that are held beside [`Kind::Idle`].
    pub fn start(kind: Kind, folder: &Path, idle: usize) -> Result<Load> {
        let netns = match kind {
            Kind::ChurnVeth => Some(Netns::new()?),
            _ => None,
        };
        let address = match netns {
            Some(_) => SERVER,
            None => "127.0.0.1",
        };
        let held = match kind {
            Kind::Idle => Some(footprint::hold(idle)?),
            _ => None,
        };
        let server = match kind {
            Kind::Own(own) => serve(own)?,
            _ => nginx(kind, folder, address)?,
        };
        Ok(Load {
            kind,
            server,
            netns,
            address,
            _idle: held,
        })
    }

    /// Requests, connections or MiB a second.
    pub fn rate(&self, duration: Duration) -> Result<f64> {
        let seconds = duration.as_secs().to_string();
        if let Kind::Own(own) = self.kind {
            let text = command::read(this()?.args(["bench-drive", own.name(), &seconds]))?;
            return text
                .trim()
                .parse()
                .with_context(|| format!("no rate: {text}"));
        }
        let large = self.kind == Kind::Large;
        let mut command = match &self.netns {
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &netns.name, "wrk"]);
                command
            }
            None => Command::new("wrk"),
        };
        command
            .args(["-t2", "-c", if large { "8" } else { "64" }, "-d"])
            .arg(format!("{seconds}s"))
            .arg(format!(
                "http://{}:{PORT}/{}",
                self.address,
                if large { "large" } else { "" }
            ));
        let text = command::read(&mut command)?;
        parse_rate(&text).with_context(|| format!("wrk said no rate:\n{text}"))
    }

    /// Connections that nginx has handled so far, this one included.
    pub fn handled(&self) -> Result<u64> {
        let mut stream = TcpStream::connect((self.address, PORT)).context("cannot reach nginx")?;
        stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("cannot read what nginx has counted")?;
        parse_handled(&answer)
            .with_context(|| format!("nginx's status is not understood:\n{answer}"))
    }
}

fn this() -> Result<Command> {
    Ok(Command::new(
        std::env::current_exe().context("where is this program?")?,
    ))
}

fn serve(own: Own) -> Result<Child> {
    let mut child = this()?
        .args(["bench-serve", own.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a server")?;
    let mut said = String::new();
    let stdout = child.stdout.take().context("no pipe")?;
    BufReader::new(stdout).read_line(&mut said)?;
    if said.trim() != own::READY {
        bail!("the server of the load did not start");
    }
    Ok(child)
}

fn nginx(kind: Kind, folder: &Path, address: &str) -> Result<Child> {
    if kind == Kind::Large {
        let file = File::create(folder.join("large")).context("cannot make the large file")?;
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
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect((address, PORT)).is_err() {
        if Instant::now() > until {
            bail!(
                "nginx does not listen on {address}:{PORT}; see {}",
                folder.join("nginx.log").display()
            );
        }
        sleep(Duration::from_millis(50));
    }
    Ok(nginx)
}

impl Drop for Load {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.server.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.server.wait();
    }
}

fn parse_rate(text: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))?;
    line.trim().parse().ok()
}

/// Of "server accepts handled requests", the second number of the line below.
fn parse_handled(text: &str) -> Option<u64> {
    let mut lines = text.lines().skip_while(|line| !line.contains("handled"));
    lines.nth(1)?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn config(kind: Kind, folder: &Path, address: &str) -> String {
    let keepalive = match kind {
        Kind::KeepAlive | Kind::Idle => "keepalive_timeout 60; keepalive_requests 100000000;",
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
         location = /status {{ stub_status; }}\n\
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
    use super::{parse_handled, parse_rate};

    #[test]
    fn the_rate_is_taken_from_what_wrk_says() {
        let text = "Running 1s test\n  30000 requests in 1.00s\nRequests/sec:  29875.51\nTransfer/sec: 5MB\n";
        assert_eq!(parse_rate(text), Some(29_875.51));
        assert_eq!(parse_rate("unable to connect"), None);
    }

    #[test]
    fn what_nginx_has_handled_is_its_second_count() {
        let text =
            "Active connections: 1 \nserver accepts handled requests\n 12 11 10 \nReading: 0\n";
        assert_eq!(parse_handled(text), Some(11));
        assert_eq!(parse_handled("404"), None);
    }
}
