//! What systemd wants to hear of a service of `Type=notify`: that everything is attached, that it is alive, that it
//! is ending. Outside of systemd nobody listens, and nothing is said.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Who started this process and waits for word of it.
pub struct Supervisor {
    /// Its socket.
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// It kills a service that it does not hear of for a while.
    watches: bool,
}

impl Supervisor {
    pub fn from_env() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        // Only the process that it names is watched: a child inherits the environment.
        let own = |pid: &OsStr| pid.to_str() == Some(&std::process::id().to_string());
        Supervisor {
            socket: set("NOTIFY_SOCKET").and_then(|name| connect(&name)),
            watches: set("WATCHDOG_USEC").is_some()
                && set("WATCHDOG_PID").is_none_or(|pid| own(&pid)),
        }
    }

    /// Everything is attached.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// Called far more often than any watchdog asks for.
    pub fn alive(&self) {
        if self.watches {
            self.say("WATCHDOG=1\n");
        }
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1\n");
    }

    /// A supervisor that cannot be told is no reason not to trace.
    fn say(&self, text: &str) {
        if let Some((socket, to)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), to)
        {
            tracing::debug!(%error, "the supervisor was not told {text:?}");
        }
    }
}

/// A path, or after `@` a name in the abstract namespace.
fn connect(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().and_then(|socket| {
        // A listener whose queue is full must not hold up the reader of the ring buffer.
        socket.set_nonblocking(true)?;
        Ok((socket, to?))
    });
    socket
        .inspect_err(|error| tracing::debug!(%error, "NOTIFY_SOCKET {name:?} is of no use"))
        .ok()
}
