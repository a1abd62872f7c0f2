//! Loads the kernel side and attaches its hooks. Everything that holds the kernel side is in
//! [`Attached`]: descriptors only, nothing pinned, so that it is gone with the process however
//! that ends.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, Iter, ProgramError, TracePoint},
};
use tokio::io::{Interest, unix::AsyncFd};
use tracer_common::conn::Conn;

use super::{layout::Layout, tracefs, walk::Walk};

/// Sizes of ring buffer and maps.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes; a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Entries of `CONNS` and `PAIRS`.
    pub max_connections: u32,
}

/// A hook: what it tells, and how it is attached.
struct Hook {
    /// The name of the program in the object file.
    program: &'static str,
    signal: &'static str,
    at: At,
    /// What is blind without it; `None`: tracing is impossible.
    blind: Option<&'static str>,
}

enum At {
    TpBtf(&'static str),
    Tracepoint(&'static str, &'static str),
}

const HOOKS: [Hook; 12] = [
    Hook {
        program: "destroy_sock",
        signal: "socket_end",
        at: At::TpBtf("tcp_destroy_sock"),
        blind: None,
    },
    Hook {
        program: "send_reset",
        signal: "rst_sent",
        at: At::TpBtf("tcp_send_reset"),
        blind: Some("RSTs that this node sends"),
    },
    Hook {
        program: "receive_reset",
        signal: "rst_received",
        at: At::TpBtf("tcp_receive_reset"),
        blind: Some("RSTs that this node receives"),
    },
    Hook {
        program: "error_report",
        signal: "icmp_error",
        at: At::TpBtf("inet_sk_error_report"),
        blind: Some("ICMP errors that a process consumes before it closes"),
    },
    Hook {
        program: "signal_generate",
        signal: "signal",
        at: At::TpBtf("signal_generate"),
        blind: Some("SIGPIPE, and who killed a process"),
    },
    Hook {
        program: "mark_victim",
        signal: "oom_kill",
        at: At::TpBtf("mark_victim"),
        blind: Some("whether a process was killed for want of memory"),
    },
    Hook {
        program: "task_rename",
        signal: "process_name",
        at: At::TpBtf("task_rename"),
        blind: Some("new names of processes between their connect or accept and the end"),
    },
    Hook {
        program: "send_length",
        signal: "write_error",
        at: At::TpBtf("sock_send_length"),
        blind: Some("errors of sends, and owners that only send"),
    },
    Hook {
        program: "recv_length",
        signal: "read_error",
        at: At::TpBtf("sock_recv_length"),
        blind: Some("errors of receives, and owners that only receive"),
    },
    Hook {
        program: "exit_accept",
        signal: "accept",
        at: At::Tracepoint("syscalls", "sys_exit_accept"),
        blind: Some("owners of accepted sockets before their first send or receive"),
    },
    Hook {
        program: "exit_accept4",
        signal: "accept4",
        at: At::Tracepoint("syscalls", "sys_exit_accept4"),
        blind: Some("owners of accepted sockets before their first send or receive"),
    },
    // Last: from here on ends are told, and everything that explains them is in place.
    Hook {
        program: "set_state",
        signal: "state",
        at: At::TpBtf("inet_sock_set_state"),
        blind: None,
    },
];

/// Which hook serves a signal, or why none does.
#[derive(Clone, Debug)]
pub struct HookStatus {
    pub signal: &'static str,
    /// `tp_btf:inet_sock_set_state`.
    pub hook: String,
    /// Why it could not be attached.
    pub error: Option<String>,
    /// What cannot be seen because of that.
    pub blind: Option<&'static str>,
}

/// The kernel side at work. Dropping it detaches everything.
pub struct Attached {
    pub hooks: Vec<HookStatus>,
    pub ring: RingBuf<MapData>,
    pub counters: PerCpuArray<MapData, u64>,
    pub conns: HashMap<MapData, u64, Conn>,
    /// Keeps programs and links.
    ebpf: Ebpf,
    /// `None`: this kernel refused it.
    _walk: Option<Walk>,
    #[cfg(feature = "kernel-log")]
    log: aya_log::EbpfLogger<&'static dyn log::Log>,
}

impl Attached {
    /// How many hooks are attached.
    pub fn attached_hooks(&self) -> usize {
        self.hooks
            .iter()
            .filter(|hook| hook.error.is_none())
            .count()
    }

    /// Passes on what the kernel side has logged (feature `kernel-log`).
    pub fn flush_log(&mut self) {
        #[cfg(feature = "kernel-log")]
        self.log.flush();
    }

    /// Waits for the ring buffer to have something; the ring itself is read through `ring`.
    pub fn readiness(&self) -> Result<AsyncFd<OwnedFd>> {
        let what = "cannot wait for the ring buffer";
        let fd = self.ring.as_fd().try_clone_to_owned().context(what)?;
        // SAFETY: an OwnedFd gives the same open descriptor for as long as the AsyncFd owns it.
        unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)
            .context(what)
    }

    /// Whether a hook is attached for this signal.
    pub fn serves(&self, signal: &str) -> bool {
        self.hooks
            .iter()
            .any(|hook| hook.signal == signal && hook.error.is_none())
    }

    /// Descriptors of the loaded programs.
    pub fn programs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ebpf
            .programs()
            .filter_map(|(_, program)| Some(program.fd().ok()?.as_fd()))
    }
}

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer"));

/// Loads, attaches, then scans the sockets that are open already.
pub fn attach(layout: &Layout, sizes: Sizes) -> Result<Attached> {
    raise_memlock();
    tracefs::make_visible();
    let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF for loading programs")?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("OFFSETS", &layout.offsets, true)
        .override_global("CONFIG", &layout.config, true)
        .map_max_entries("EVENTS", sizes.ring_bytes)
        .map_max_entries("CONNS", sizes.max_connections)
        .map_max_entries("PAIRS", sizes.max_connections)
        .load(OBJECT)
        .context("cannot create the maps of the kernel side")?;

    #[cfg(feature = "kernel-log")]
    let log = aya_log::EbpfLogger::init(&mut ebpf).context("cannot read the kernel side's log")?;
    let mut hooks = HOOKS
        .iter()
        .map(|hook| status(hook, attach_hook(&mut ebpf, hook, &btf)))
        .collect::<Result<Vec<_>>>()?;
    scan(&mut ebpf, &btf).context("cannot scan the sockets that are open already")?;
    let walk = walk(&mut ebpf, &btf);
    hooks.push(walk_status(walk.as_ref().err()));

    Ok(Attached {
        hooks,
        ring: take(&mut ebpf, "EVENTS")?,
        counters: take(&mut ebpf, "COUNTERS")?,
        conns: take(&mut ebpf, "CONNS")?,
        ebpf,
        _walk: walk.ok(),
        #[cfg(feature = "kernel-log")]
        log,
    })
}

fn take<T>(ebpf: &mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| anyhow!("the object file has no map {name}"))?;
    Ok(T::try_from(map)?)
}

fn status(hook: &Hook, result: Result<(), ProgramError>) -> Result<HookStatus> {
    let name = match hook.at {
        At::TpBtf(name) => format!("tp_btf:{name}"),
        At::Tracepoint(group, name) => format!("tracepoint:{group}:{name}"),
    };
    let error = match result {
        Ok(()) => None,
        Err(error) if hook.blind.is_some() => Some(chain(&error)),
        Err(error) => {
            return Err(anyhow!(chain(&error))).with_context(|| {
                format!("cannot attach {name}, without which nothing can be seen")
            });
        }
    };
    Ok(HookStatus {
        signal: hook.signal,
        hook: name,
        blind: hook.blind.filter(|_| error.is_some()),
        error,
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn attach_hook(ebpf: &mut Ebpf, hook: &Hook, btf: &Btf) -> Result<(), ProgramError> {
    let program = ebpf
        .program_mut(hook.program)
        .ok_or(ProgramError::NotLoaded)?;
    match hook.at {
        At::TpBtf(name) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(name, btf)?;
            program.attach()?;
        }
        At::Tracepoint(group, name) => {
            let program: &mut TracePoint = program.try_into()?;
            program.load()?;
            program.attach(group, name)?;
        }
    }
    Ok(())
}

fn scan(ebpf: &mut Ebpf, btf: &Btf) -> Result<()> {
    let program: &mut Iter = ebpf
        .program_mut("scan_task_file")
        .ok_or_else(|| anyhow!("the object file has no program scan_task_file"))?
        .try_into()?;
    program.load("task_file", btf)?;
    let id = program.attach()?;
    let mut file: File = program.take_link(id)?.into_file()?;
    // It writes nothing to its file: reading to the end is what runs it.
    file.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The walk over the connections begins.
fn walk(ebpf: &mut Ebpf, btf: &Btf) -> Result<Walk> {
    let program: &mut Iter = ebpf
        .program_mut("walk_conns")
        .ok_or_else(|| anyhow!("the object file has no program walk_conns"))?
        .try_into()?;
    program.load("bpf_map_elem", btf)?;
    let program = program.fd()?.try_clone()?;
    let Some(Map::HashMap(conns)) = ebpf.map("CONNS") else {
        bail!("the object file has no map CONNS");
    };
    Ok(Walk::start(program.as_fd(), conns.fd().as_fd())?)
}

fn walk_status(error: Option<&anyhow::Error>) -> HookStatus {
    HookStatus {
        signal: "stall",
        hook: "iter:bpf_map_elem".to_owned(),
        error: error.map(|error| format!("{error:#}")),
        blind: error.map(|_| "silent peers, before the kernel gives their connections up"),
    }
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK. Not being allowed to raise it is no fault
/// where it is not charged.
fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!(%error, "RLIMIT_MEMLOCK stays as it is");
    }
}

/// Sum over all CPUs of one of [`tracer_common::counters`].
pub fn counter(counters: &PerCpuArray<MapData, u64>, id: u32) -> u64 {
    counters.get(&id, 0).map_or(0, |values| values.iter().sum())
}
