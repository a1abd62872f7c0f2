//! How long after its cause a line is there: on a machine that does nothing else, and beside as many connections as it can
//! make.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{setsockopt, sockopt},
    },
    unistd::Pid,
};

use super::load::{Kind, Load};

const SAMPLES: usize = 101;
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than the samples take.
const LOADED: Duration = Duration::from_secs(15);

/// From a close() that resets, to the line in a pipe: milliseconds, in order.
#[derive(Default)]
pub struct Delays {
    pub idle_ms: Vec<f64>,
    pub loaded_ms: Vec<f64>,
}

impl Delays {
    pub fn measure(binary: &Path, folder: &Path) -> Result<Delays> {
        let idle_ms = sample(binary)?;
        let load = Load::start(Kind::Churn, folder, 0)?;
        let loaded_ms = thread::scope(|scope| {
            let loading = scope.spawn(|| load.rate(LOADED));
            sleep(Duration::from_secs(1));
            let loaded_ms = sample(binary);
            match loading.join() {
                Ok(rate) => rate.and(loaded_ms),
                Err(_) => bail!("the load panicked"),
            }
        })?;
        Ok(Delays { idle_ms, loaded_ms })
    }
}

fn sample(binary: &Path) -> Result<Vec<f64>> {
    let mut tracer = Command::new(binary)
        .args(["-o", "json", "--events", "tcp_close"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start tracer")?;
    let stdout = tracer.stdout.take().context("no pipe")?;
    let (tell, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tell.send((Instant::now(), line)).is_err() {
                break;
            }
        }
    });
    let (_, first) = lines
        .recv_timeout(PATIENCE)
        .context("tracer did not start")?;
    if !first.contains("\"start\"") {
        bail!("the first line is no start: {first}");
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let to = listener.local_addr().context("no address")?;
    let mut delays = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let mut client = TcpStream::connect(to).context("cannot connect")?;
        let (mut server, _) = listener.accept().context("cannot accept")?;
        client.write_all(b"?")?;
        server.read_exact(&mut [0])?;
        let port = client.local_addr()?.port();
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&client.as_fd(), sockopt::Linger, &at_once).context("cannot set SO_LINGER")?;
        let ended = Instant::now();
        drop(client);
        let wanted = format!("\"local_port\":{port},");
        let told = loop {
            let (at, line) = lines
                .recv_timeout(PATIENCE)
                .context("an end was not told")?;
            if line.contains(&wanted) {
                break at;
            }
        };
        delays.push(told.duration_since(ended).as_secs_f64() * 1_000.0);
        // Not in step with anything of the tracer's.
        sleep(Duration::from_millis(37));
    }
    kill(Pid::from_raw(tracer.id() as i32), Signal::SIGINT).context("cannot end the tracer")?;
    tracer.wait()?;
    drop(lines);
    let _ = reader.join();
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}
