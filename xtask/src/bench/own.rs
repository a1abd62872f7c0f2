//! Loads that no common tool makes: accepts as fast as they come, a storm of RSTs, payload that is spliced. One process
//! serves, another drives; both are this program.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};

pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 18_098);

/// What the server says when it listens.
pub const READY: &str = "ready";

const THREADS: usize = 2;
const MIB: f64 = 1_048_576.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Own {
    /// The server closes what it accepts at once.
    Accepts,
    /// The client resets what it has connected.
    Resets,
    /// One connection, as many bytes as it takes, by splice(2).
    Splice,
}

impl Own {
    pub fn name(self) -> &'static str {
        match self {
            Own::Accepts => "accepts",
            Own::Resets => "resets",
            Own::Splice => "splice",
        }
    }
}

/// Until it is killed.
pub fn serve(own: Own) -> Result<()> {
    let listener =
        TcpListener::bind(ADDRESS).with_context(|| format!("cannot listen on {ADDRESS}"))?;
    println!("{READY}");
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for stream in listener.incoming().flatten() {
                    // How a connection ends is the load's affair.
                    let _ = attend(own, stream);
                }
            });
        }
    });
    Ok(())
}

fn attend(own: Own, mut stream: TcpStream) -> io::Result<()> {
    match own {
        Own::Accepts => Ok(()),
        Own::Resets => stream.read(&mut [0]).map(drop),
        Own::Splice => {
            let (reader, mut writer) = io::pipe()?;
            let filler = thread::spawn(move || while writer.write_all(&[0; 65_536]).is_ok() {});
            let ended = splice(reader, &mut stream);
            let _ = filler.join();
            ended
        }
    }
}

/// Copying from a pipe to a socket is splice(2) in the standard library.
fn splice(from: PipeReader, to: &mut TcpStream) -> io::Result<()> {
    io::copy(&mut File::from(OwnedFd::from(from)), to).map(drop)
}

/// Connections, or MiB, a second.
pub fn drive(own: Own, duration: Duration) -> Result<f64> {
    let began = Instant::now();
    let until = began + duration;
    let done = thread::scope(|scope| {
        let threads: Vec<_> = (0..if own == Own::Splice { 1 } else { THREADS })
            .map(|_| scope.spawn(|| drive_one(own, until)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => bail!("a thread of the load panicked"),
            })
            .sum::<Result<f64>>()
    })?;
    Ok(done / began.elapsed().as_secs_f64())
}

fn drive_one(own: Own, until: Instant) -> Result<f64> {
    let mut done = 0.0;
    while Instant::now() < until {
        let mut stream =
            TcpStream::connect(ADDRESS).with_context(|| format!("cannot connect to {ADDRESS}"))?;
        match own {
            Own::Accepts => {
                stream
                    .read(&mut [0])
                    .context("cannot read the end of file")?;
                done += 1.0;
            }
            Own::Resets => {
                let at_once = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&stream.as_fd(), sockopt::Linger, &at_once)
                    .context("cannot set SO_LINGER")?;
                done += 1.0;
            }
            Own::Splice => {
                let mut buffer = vec![0; 262_144];
                while Instant::now() < until {
                    let bytes = stream.read(&mut buffer).context("cannot read")?;
                    done += bytes as f64 / MIB;
                }
            }
        }
    }
    Ok(done)
}
