//! `tracer demo`: a real broken pipe between two processes on loopback, seen by a real tracer.
//!
//! Three processes besides this one, all of this program: a tracer, a server that takes its time,
//! and a client that does not wait for it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use crate::{cli::Part, kernel::surroundings::Surroundings};

/// How long the client waits for its answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the server works on it.
const WORK: Duration = Duration::from_millis(800);
/// Between the server's two writes, for the RST to arrive: at once, unless the machine is very busy.
const RST_LIMIT: Duration = Duration::from_secs(2);
/// One write; the second one fails.
const ANSWER: [u8; 4096] = [b'x'; 4096];
/// After the server's end, for its record: the contract promises it within 150 ms.
const SETTLE: Duration = Duration::from_millis(400);

/// Breaks a pipe on loopback and explains what was seen.
pub fn demo() -> Result<()> {
    Surroundings::look().check()?;
    let port = free_port()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "A client asks a server for an answer, waits {} ms and hangs up. The server knows nothing of\n\
         that, works for {} ms, then writes 4096 bytes twice. Watching it:\n\n\
         $ tracer -o text --port {port}\n",
        PATIENCE.as_millis(),
        WORK.as_millis(),
    )?;
    out.flush()?;

    let mut tracer = start(&["-o", "text", "--port", &port.to_string()], Stdio::piped())?;
    let lines = tracer.stdout.take().context("the tracer has no output")?;
    let mut lines = BufReader::new(lines);
    let mut first = String::new();
    if lines.read_line(&mut first)? == 0 {
        tracer.wait()?;
        bail!("the tracer ended before it had attached its hooks; its message is above");
    }
    write!(out, "{first}")?;
    out.flush()?;

    let mut server = start_part("server", port)?;
    let mut ready = server.stdout.take().context("the server has no output")?;
    // It says one byte when it listens.
    ready
        .read_exact(&mut [0])
        .context("the server did not start")?;
    let mut client = start_part("client", port)?;
    client.wait()?;
    server.wait()?;
    thread::sleep(SETTLE);
    let pid = i32::try_from(tracer.id()).context("a pid beyond the kernel's own range")?;
    kill(Pid::from_raw(pid), Signal::SIGINT).context("cannot stop the tracer")?;
    io::copy(&mut lines, &mut out)?;
    tracer.wait()?;

    writeln!(
        out,
        "\nHow to read it: the client's end is `fin_local`, it closed first, after {} ms. The server's end is\n\
         `fin_peer_rst`: its first write after that still succeeded, the client's kernel answered it with a RST,\n\
         and only the second write failed with EPIPE, the broken pipe. The time that names the culprit is AT,\n\
         the age at the first end; the error came later and names nobody.\n\
         Next: `tracer explain fin_peer_rst`, or `sudo tracer` and wait for one of your own.",
        PATIENCE.as_millis(),
    )?;
    Ok(())
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

fn start(args: &[&str], stdout: Stdio) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Command::new(&program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(stdout)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

fn start_part(part: &str, port: u16) -> Result<Child> {
    start(
        &["demo", "--part", part, "--port", &port.to_string()],
        Stdio::piped(),
    )
}

/// One of the two ends.
pub fn part(part: Part, port: u16) -> Result<()> {
    match part {
        Part::Server => serve(port),
        Part::Client => ask(port),
    }
}

fn serve(port: u16) -> Result<()> {
    prctl::set_name(c"demo-server").context("cannot set this process's name")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    let mut stdout = io::stdout();
    stdout.write_all(b".")?;
    stdout.flush()?;
    let (mut client, _) = listener.accept().context("nobody connected")?;
    client.read_exact(&mut [0; 16]).context("no request came")?;
    thread::sleep(WORK);
    client
        .write_all(&ANSWER)
        .context("the first write failed, which should succeed")?;
    // A connection that was reset has hung up, one that the peer has only closed has not.
    let limit = PollTimeout::try_from(RST_LIMIT).context("a time that poll knows")?;
    poll(
        &mut [PollFd::new(client.as_fd(), PollFlags::empty())],
        limit,
    )
    .context("cannot wait for the RST")?;
    match client.write_all(&ANSWER) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => bail!("the second write should fail with a broken pipe, but gave {other:?}"),
    }
}

fn ask(port: u16) -> Result<()> {
    prctl::set_name(c"demo-client").context("cannot set this process's name")?;
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot connect to 127.0.0.1:{port}"))?;
    server.write_all(b"GET /answer HTTP")?;
    server.set_read_timeout(Some(PATIENCE))?;
    match server.read(&mut [0; 1]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => bail!("no answer should come in time, but there was {other:?}"),
    }
}
