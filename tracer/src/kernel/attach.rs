//! Loads the kernel side and attaches its hooks. Everything that holds the kernel side is in
//! [`Attached`]: descriptors only, nothing pinned, so that it is gone with the process however
//! that ends.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, PerCpuArray, RingBuf},
    programs::{
        BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint,
        TracePoint,
    },
};
use tokio::io::{Interest, unix::AsyncFd};
use tracer_common::{
    conn::{BUCKETS_PER_SET, Conn},
    table::{self, Keys, WAYS},
};

use super::{
    btf::Btf as Types,
    hooks::{At, Family, Part, SIGNALS, Signal, Way},
    layout::Layout,
    scan, tracefs,
    walk::Walk,
};

/// Sizes of ring buffer and maps.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes; a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Connections for which there is room without fail.
    pub max_connections: u32,
}

/// Which hook serves a signal, or why none does.
#[derive(Clone, Debug)]
pub struct HookStatus {
    pub signal: &'static str,
    /// `tp_btf:inet_sock_set_state`; the preferred one when none could be attached.
    pub hook: String,
    /// Why it could not be attached.
    pub error: Option<String>,
    /// The hooks that would have been better, and why they could not be attached.
    pub instead_of: Option<String>,
    /// What cannot be seen because of that.
    pub blind: Option<&'static str>,
}

/// The kernel side at work. Dropping it detaches everything.
pub struct Attached {
    pub hooks: Vec<HookStatus>,
    pub ring: RingBuf<MapData>,
    pub counters: PerCpuArray<MapData, u64>,
    pub conns: Conns,
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

    /// The attached hooks, each once.
    pub fn hook_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for hook in self.hooks.iter().filter(|hook| hook.error.is_none()) {
            if !names.contains(&hook.hook.as_str()) {
                names.push(&hook.hook);
            }
        }
        names
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

    /// Names and descriptors of the loaded programs.
    pub fn programs(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| Some((name, program.fd().ok()?.as_fd())))
    }
}

/// The connections that the kernel side knows now.
pub struct Conns {
    keys: Array<MapData, Keys>,
    values: Array<MapData, Conn>,
    sets: u32,
}

impl Conns {
    /// What is known of a socket, by its address. It may be another's by the time it is read: its cookie
    /// tells.
    pub fn get(&self, sk: u64) -> Option<Conn> {
        table::sets_of(sk, self.sets).into_iter().find_map(|set| {
            let keys = self.keys.get(&set, 0).ok()?;
            let way = keys.iter().position(|key| *key == sk)?;
            self.values.get(&(set * WAYS + way as u32), 0).ok()
        })
    }
}

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer"));

/// Loads, attaches, then looks for the sockets that are open already.
/// `family`: whose hooks to use where there is a choice; `None`: the best that the kernel has.
pub fn attach(
    layout: &Layout,
    types: &Types<'_>,
    sizes: Sizes,
    family: Option<Family>,
) -> Result<Attached> {
    let mut config = layout.config;
    config.sets = table::sets(sizes.max_connections);
    if family == Some(Family::Kprobe) {
        ensure!(
            config.may_probe != 0,
            "--hooks kprobe: lockdown=confidentiality forbids what such programs read; --hooks auto takes what this kernel allows"
        );
        // Programs without types may not ask for a socket's cookie.
        config.has_socket_cookie = 0;
    }
    raise_memlock();
    tracefs::make_visible();
    let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF for loading programs")?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("OFFSETS", &layout.offsets, true)
        .override_global("CONFIG", &config, true)
        .map_max_entries("EVENTS", sizes.ring_bytes)
        .map_max_entries("CONN_KEYS", config.sets)
        .map_max_entries("CONNS", config.sets * WAYS)
        .map_max_entries("PAIRS", config.sets * BUCKETS_PER_SET)
        .load(OBJECT)
        .map_err(Error::new)
        .map_err(|error| match is_out_of_memory(&error) {
            true => error.context(NO_MEMORY),
            false => error.context("cannot create the maps of the kernel side"),
        })?;

    #[cfg(feature = "kernel-log")]
    let log = aya_log::EbpfLogger::init(&mut ebpf).context("cannot read the kernel side's log")?;
    let kernel = Kernel { types, btf: &btf };
    let mut hooks = SIGNALS
        .iter()
        .map(|signal| serve(&mut ebpf, signal, family, kernel))
        .collect::<Result<Vec<_>>>()?;
    let scanned = if layout.config.may_probe == 0 {
        Err(anyhow!("lockdown=confidentiality forbids what it reads"))
    } else {
        scan(&mut ebpf, &btf)
    };
    hooks.push(iterated(
        "open_sockets",
        "task_file",
        scanned.as_ref().err(),
        "connections that are open already, until they end",
    ));
    let walk = walk(&mut ebpf, &btf);
    hooks.push(iterated(
        "stall",
        "bpf_map_elem",
        walk.as_ref().err(),
        "silent peers, before the kernel gives their connections up",
    ));

    Ok(Attached {
        hooks,
        ring: take(&mut ebpf, "EVENTS")?,
        counters: take(&mut ebpf, "COUNTERS")?,
        conns: Conns {
            keys: take(&mut ebpf, "CONN_KEYS")?,
            values: take(&mut ebpf, "CONNS")?,
            sets: config.sets,
        },
        ebpf,
        _walk: walk.ok(),
        #[cfg(feature = "kernel-log")]
        log,
    })
}

const NO_MEMORY: &str = "no memory for the maps of the kernel side: raise the limit of this cgroup (systemd: \
    MemoryMax=, docker: --memory), or make them smaller with --max-connections and --ring-size";

fn is_out_of_memory(error: &Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::OutOfMemory)
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

/// Attaches the first way that works, of those that the choice of a family leaves.
fn serve(
    ebpf: &mut Ebpf,
    signal: &Signal,
    family: Option<Family>,
    kernel: Kernel<'_>,
) -> Result<HookStatus> {
    let mut refused: Vec<(String, String)> = Vec::new();
    for way in signal.ways(family) {
        match attach_way(ebpf, way, kernel) {
            Ok(()) => {
                let refused: Vec<String> = refused
                    .iter()
                    .map(|(hook, error)| format!("{hook} ({error})"))
                    .collect();
                return Ok(HookStatus {
                    signal: signal.name,
                    hook: way.to_string(),
                    error: None,
                    instead_of: (!refused.is_empty()).then(|| refused.join(", ")),
                    blind: None,
                });
            }
            Err(Refusal::Absent(why)) => refused.push((way.to_string(), why)),
            Err(Refusal::Failed(error)) => {
                let why = chain(&error);
                if Some(way.family) == family {
                    return Err(anyhow!(why)).with_context(|| {
                        format!(
                            "cannot attach {way} as --hooks {} asks; --hooks auto takes what this kernel has",
                            way.family
                        )
                    });
                }
                refused.push((way.to_string(), why));
            }
        }
    }
    let mut refused = refused.into_iter();
    let (hook, error) = refused.next().context("a signal has a hook")?;
    let error = refused.fold(error, |all, (hook, error)| {
        format!("{all}; {hook}: {error}")
    });
    if signal.blind.is_none() {
        return Err(anyhow!(error))
            .with_context(|| format!("cannot attach {hook}, without which nothing can be seen"));
    }
    Ok(HookStatus {
        signal: signal.name,
        hook,
        error: Some(error),
        instead_of: None,
        blind: signal.blind,
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

/// Why a hook is not attached.
enum Refusal {
    /// This kernel has no such thing.
    Absent(String),
    /// It has, but it was tried in vain.
    Failed(ProgramError),
}

impl From<ProgramError> for Refusal {
    fn from(error: ProgramError) -> Self {
        Refusal::Failed(error)
    }
}

/// The kernel's types, as each of two readers has them: ours knows arguments, aya's loads programs.
#[derive(Clone, Copy)]
struct Kernel<'a> {
    types: &'a Types<'a>,
    btf: &'a Btf,
}

/// All parts of a way, or none.
fn attach_way(ebpf: &mut Ebpf, way: &Way, kernel: Kernel<'_>) -> Result<(), Refusal> {
    if let Some(why) = way.absence(kernel.types) {
        return Err(Refusal::Absent(why));
    }
    let parts: Vec<&Part> = way.needed(kernel.types).collect();
    for (number, part) in parts.iter().enumerate() {
        if let Err(error) = attach_part(ebpf, part, kernel.btf) {
            if let At::Again(_) = part.at {
                let error = chain(&error);
                tracing::warn!(%error, "what {way} is kept from when it is preempted is not made good");
                continue;
            }
            for attached in &parts[..=number] {
                unload(ebpf, attached);
            }
            return Err(error.into());
        }
    }
    Ok(())
}

fn attach_part(ebpf: &mut Ebpf, part: &Part, btf: &Btf) -> Result<(), ProgramError> {
    // The program of another signal does it too.
    if let At::WithArgs(..) = part.at {
        return Ok(());
    }
    let program = ebpf
        .program_mut(part.program)
        .ok_or(ProgramError::NotLoaded)?;
    match part.at {
        At::TpBtf(name) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(name, btf)?;
            program.attach()?;
        }
        At::Fentry(name) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(name, btf)?;
            program.attach()?;
        }
        At::Fexit(name, _) => {
            let program: &mut FExit = program.try_into()?;
            program.load(name, btf)?;
            program.attach()?;
        }
        At::Tracepoint(group, name) => {
            let program: &mut TracePoint = program.try_into()?;
            program.load()?;
            program.attach(group, name)?;
        }
        At::RawTp(name) => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load()?;
            program.attach(name)?;
        }
        At::Again(name) => match program {
            Program::BtfTracePoint(program) => {
                program.load(name, btf)?;
                program.attach()?;
            }
            program => {
                let program: &mut RawTracePoint = program.try_into()?;
                program.load()?;
                program.attach(name)?;
            }
        },
        At::Kprobe(name) | At::Kretprobe(name, None) => probe(program, name)?,
        At::Kretprobe(name, Some(entry)) => {
            let entry = ebpf.program_mut(entry).ok_or(ProgramError::NotLoaded)?;
            probe(entry, name)?;
            let program = ebpf
                .program_mut(part.program)
                .ok_or(ProgramError::NotLoaded)?;
            probe(program, name)?;
        }
        At::WithArgs(..) => {}
    }
    Ok(())
}

/// One program may serve several functions.
fn probe(program: &mut Program, function: &str) -> Result<(), ProgramError> {
    let program: &mut KProbe = program.try_into()?;
    if program.fd().is_err() {
        program.load()?;
    }
    program.attach(function, 0)?;
    Ok(())
}

/// Gone from the kernel, whatever had become of it.
fn unload(ebpf: &mut Ebpf, part: &Part) {
    let entry = match part.at {
        // It is another signal's.
        At::WithArgs(..) => return,
        At::Kretprobe(_, entry) => entry,
        _ => None,
    };
    for name in entry.into_iter().chain([part.program]) {
        let unloaded = match ebpf.program_mut(name) {
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::TracePoint(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            Some(Program::KProbe(program)) => program.unload(),
            _ => continue,
        };
        if let Err(error) = unloaded {
            tracing::debug!(program = name, %error, "was not loaded");
        }
    }
}

fn scan(ebpf: &mut Ebpf, btf: &Btf) -> Result<()> {
    let program: &mut Iter = ebpf
        .program_mut("scan_task_file")
        .ok_or_else(|| anyhow!("the object file has no program scan_task_file"))?
        .try_into()?;
    program.load("task_file", btf)?;
    let id = program.attach()?;
    Ok(scan::run(program.take_link(id)?.into_file()?)?)
}

/// The walk over the connections begins.
fn walk(ebpf: &mut Ebpf, btf: &Btf) -> Result<Walk> {
    let program: &mut Iter = ebpf
        .program_mut("walk_conns")
        .ok_or_else(|| anyhow!("the object file has no program walk_conns"))?
        .try_into()?;
    program.load("bpf_map_elem", btf)?;
    let program = program.fd()?.try_clone()?;
    let Some(Map::Array(keys)) = ebpf.map("CONN_KEYS") else {
        bail!("the object file has no map CONN_KEYS");
    };
    Ok(Walk::start(program.as_fd(), keys.fd().as_fd())?)
}

fn iterated(
    signal: &'static str,
    iterator: &str,
    error: Option<&Error>,
    blind: &'static str,
) -> HookStatus {
    HookStatus {
        signal,
        hook: format!("iter:{iterator}"),
        instead_of: None,
        error: error.map(|error| format!("{error:#}")),
        blind: error.map(|_| blind),
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
