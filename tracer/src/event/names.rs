//! Names for the numbers that the kernel uses.

/// Kernel reasons for a RST that tell one ending from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RstCause {
    /// Data for a socket that no one will read (`TCP_ABORT_ON_DATA`).
    AbortOnData,
    /// close() with unread data.
    AbortOnClose,
    /// TCP_LINGER2 below 0.
    AbortOnLinger,
    AbortOnMemory,
    /// tcp_disconnect, tcp_abort, the FIN_WAIT2 timer.
    State,
    KeepaliveTimeout,
    DisconnectWithData,
    Other,
}

/// `enum sk_rst_reason` of the running kernel, in lower case without its prefix. Its numbers moved
/// between 6.10 and 6.12, so the names come from the kernel; an unknown number stays a number.
#[derive(Clone, Debug, Default)]
pub struct RstReasons(Vec<Box<str>>);

impl RstReasons {
    /// From the names and values of the enum.
    pub fn from_enum(values: Vec<(&[u8], u64)>) -> Self {
        let mut names = Vec::new();
        for (name, value) in values {
            let Ok(index) = usize::try_from(value) else {
                continue;
            };
            if index > 255 {
                continue;
            }
            if names.len() <= index {
                names.resize(index + 1, Box::default());
            }
            let name = String::from_utf8_lossy(name);
            let name = name.strip_prefix("SK_RST_REASON_").unwrap_or(&name);
            names[index] = name.to_ascii_lowercase().into();
        }
        RstReasons(names)
    }

    /// `None`: the kernel has no reasons, or did not name this one.
    pub fn name(&self, value: u32) -> Option<&str> {
        self.0
            .get(value as usize)
            .map(|name| &**name)
            .filter(|name| !name.is_empty())
    }

    /// `None`: the kernel gives no reasons.
    pub fn cause(&self, value: u32) -> Option<RstCause> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.name(value) {
            Some("tcp_abort_on_data") => RstCause::AbortOnData,
            Some("tcp_abort_on_close") => RstCause::AbortOnClose,
            Some("tcp_abort_on_linger") => RstCause::AbortOnLinger,
            Some("tcp_abort_on_memory") => RstCause::AbortOnMemory,
            Some("tcp_state") => RstCause::State,
            Some("tcp_keepalive_timeout") => RstCause::KeepaliveTimeout,
            Some("tcp_disconnect_with_data") => RstCause::DisconnectWithData,
            _ => RstCause::Other,
        })
    }
}

macro_rules! errnos {
    ($($value:literal $name:ident),* $(,)?) => {
        /// The symbolic name of an errno of the generic Linux numbering, which x86-64 and aarch64
        /// share.
        pub fn errno(value: u32) -> Option<&'static str> {
            match value {
                $($value => Some(stringify!($name)),)*
                _ => None,
            }
        }

        /// The number of a symbolic errno.
        pub fn errno_value(name: &str) -> Option<u32> {
            match name {
                $(stringify!($name) => Some($value),)*
                _ => None,
            }
        }
    };
}

errnos! {
    1 EPERM, 2 ENOENT, 4 EINTR, 5 EIO, 6 ENXIO, 9 EBADF, 11 EAGAIN, 12 ENOMEM, 13 EACCES,
    14 EFAULT, 16 EBUSY, 19 ENODEV, 22 EINVAL, 27 EFBIG, 28 ENOSPC, 29 ESPIPE, 32 EPIPE,
    71 EPROTO, 74 EBADMSG, 75 EOVERFLOW, 77 EBADFD, 88 ENOTSOCK, 89 EDESTADDRREQ, 90 EMSGSIZE,
    91 EPROTOTYPE, 92 ENOPROTOOPT, 93 EPROTONOSUPPORT, 95 EOPNOTSUPP, 97 EAFNOSUPPORT,
    98 EADDRINUSE, 99 EADDRNOTAVAIL, 100 ENETDOWN, 101 ENETUNREACH, 102 ENETRESET,
    103 ECONNABORTED, 104 ECONNRESET, 105 ENOBUFS, 106 EISCONN, 107 ENOTCONN, 108 ESHUTDOWN,
    110 ETIMEDOUT, 111 ECONNREFUSED, 112 EHOSTDOWN, 113 EHOSTUNREACH, 114 EALREADY,
    115 EINPROGRESS, 125 ECANCELED, 126 ENOKEY, 129 EKEYREJECTED,
}

macro_rules! signals {
    ($($value:literal $name:ident),* $(,)?) => {
        /// The name of a signal, as x86-64 and aarch64 number them.
        pub fn signal(value: u8) -> Option<&'static str> {
            match value {
                $($value => Some(stringify!($name)),)*
                _ => None,
            }
        }

        /// The number of a signal's name.
        pub fn signal_value(name: &str) -> Option<u8> {
            match name {
                $(stringify!($name) => Some($value),)*
                _ => None,
            }
        }
    };
}

signals! {
    1 SIGHUP, 2 SIGINT, 3 SIGQUIT, 4 SIGILL, 5 SIGTRAP, 6 SIGABRT, 7 SIGBUS, 8 SIGFPE, 9 SIGKILL,
    10 SIGUSR1, 11 SIGSEGV, 12 SIGUSR2, 13 SIGPIPE, 14 SIGALRM, 15 SIGTERM, 16 SIGSTKFLT, 24 SIGXCPU,
    25 SIGXFSZ, 26 SIGVTALRM, 27 SIGPROF, 29 SIGIO, 30 SIGPWR, 31 SIGSYS,
}

/// A TCP state as the contract spells it.
pub fn state(value: u8) -> Option<&'static str> {
    use tracer_common::state;
    Some(match value {
        state::ESTABLISHED => "established",
        state::SYN_SENT => "syn_sent",
        state::SYN_RECV => "syn_recv",
        state::FIN_WAIT1 => "fin_wait1",
        state::FIN_WAIT2 => "fin_wait2",
        state::TIME_WAIT => "time_wait",
        state::CLOSE => "close",
        state::CLOSE_WAIT => "close_wait",
        state::LAST_ACK => "last_ack",
        state::LISTEN => "listen",
        state::CLOSING => "closing",
        state::NEW_SYN_RECV => "new_syn_recv",
        _ => return None,
    })
}
