//! What the options mean: every setting validated, defaults filled in.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use super::{Usage, args, fingerprints, sources::Sources, values};
use crate::{
    core::{filter::Filter, timeouts::Table},
    enrich::procfs,
};

/// Bytes of the ring buffer unless said otherwise.
pub const RING_BYTES: u32 = 16 << 20;
/// Connections that can be tracked at a time unless said otherwise.
pub const MAX_CONNECTIONS: u32 = 131_072;

/// The node's /proc unless said otherwise.
pub const HOST_PROC: &str = "/proc";

/// Events that the live view keeps unless said otherwise.
pub const HISTORY: usize = 10_000;

/// Time between two `heartbeat` lines unless said otherwise.
pub const HEARTBEAT: Duration = Duration::from_secs(60);

/// Workloads that metrics name unless said otherwise.
pub const MAX_WORKLOADS: usize = 200;

/// How to trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub output: Output,
    /// Appended to instead of standard output.
    pub output_file: Option<PathBuf>,
    /// Text without the limit of 100 columns.
    pub wide: bool,
    pub stories: Stories,
    /// What ends are compared with.
    pub timeouts: Table,
    /// Stop after this time; `None`: when told to.
    pub duration: Option<Duration>,
    /// Stop after this many written `tcp_*` events; `None`: when told to.
    pub count: Option<u64>,
    /// Time between two `heartbeat` lines.
    pub heartbeat: Duration,
    pub filter: Filter,
    pub hooks: Hooks,
    /// A power of two, and a multiple of the page size.
    pub ring_bytes: u32,
    pub max_connections: u32,
    /// The node's /proc.
    pub host_proc: PathBuf,
    /// Where to serve metrics; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Workloads that they name.
    pub metrics_max_workloads: usize,
    pub view: View,
    pub log: Log,
}

/// How to show a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// `-` is standard input.
    pub files: Vec<PathBuf>,
    pub output: Output,
    pub wide: bool,
    /// `None`: at once, or as it happened in the live view.
    pub speed: Option<Speed>,
    /// What the live view shows of timeouts.
    pub timeouts: Table,
    pub filter: Filter,
    pub view: View,
    pub log: Log,
}

/// How the live view is drawn, and how much it keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Events that are kept.
    pub history: usize,
    /// `None`: the default, or without colours if NO_COLOR is set.
    pub theme: Option<Theme>,
    /// Whatever the locale can do.
    pub ascii: bool,
}

/// What the live view looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    #[default]
    Default,
    /// Blue and orange, which all eyes tell apart.
    ColourBlind,
    /// White on black, nothing dim.
    HighContrast,
    /// No colours.
    Mono,
}

impl Theme {
    pub const ALL: [Theme; 4] = [
        Theme::Default,
        Theme::ColourBlind,
        Theme::HighContrast,
        Theme::Mono,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Theme::Default => "default",
            Theme::ColourBlind => "colour-blind",
            Theme::HighContrast => "high-contrast",
            Theme::Mono => "mono",
        }
    }

    pub fn next(self) -> Self {
        let here = Self::ALL.iter().position(|theme| *theme == self);
        Self::ALL[here.map_or(0, |index| (index + 1) % Self::ALL.len())]
    }
}

/// How fast a recording is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// This many times as fast as it happened.
    Times(u32),
    /// As fast as it can be read.
    Max,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// The live view on a terminal, JSON otherwise.
    #[default]
    Auto,
    Tui,
    Json,
    Text,
}

/// Which ends get a story and a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stories {
    #[default]
    Abnormal,
    All,
}

/// A family of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hooks {
    /// The best that the kernel has.
    #[default]
    Auto,
    TpBtf,
    Fentry,
    Kprobe,
}

/// What tracer says about itself on standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// 0: warnings; 1: what it does; 2: details; 3: everything.
    pub verbosity: u8,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The settings of the live command.
pub fn live(args: args::Live, env: impl Fn(&str) -> Option<OsString>) -> Result<Settings, Usage> {
    let mut from = Sources::new(args.config, env)?;
    let settings = Settings {
        output: from
            .one("output", args.output, values::output)?
            .unwrap_or_default(),
        output_file: from.path("output_file", args.output_file)?,
        wide: switch(&mut from, "wide", args.wide)?,
        stories: from
            .one("stories", args.stories, values::stories)?
            .unwrap_or_default(),
        timeouts: fingerprints::table(from.path("fingerprints", args.fingerprints)?)?,
        duration: from.one("for", args.duration, values::duration)?,
        count: from.one("count", args.count, values::count)?,
        heartbeat: from
            .one("heartbeat", args.heartbeat, values::heartbeat)?
            .unwrap_or(HEARTBEAT),
        filter: filter(&mut from, args.filters)?,
        hooks: from
            .one("hooks", args.hooks, values::hooks)?
            .unwrap_or_default(),
        ring_bytes: from
            .one("ring_size", args.ring_size, values::ring_size)?
            .unwrap_or(RING_BYTES),
        max_connections: from
            .one(
                "max_connections",
                args.max_connections,
                values::max_connections,
            )?
            .unwrap_or(MAX_CONNECTIONS),
        host_proc: host_proc(from.path("host_proc", args.host_proc)?)?,
        metrics_listen: from.one("metrics_listen", args.metrics_listen, values::listen)?,
        metrics_max_workloads: from
            .one(
                "metrics_max_workloads",
                args.metrics_max_workloads,
                values::max_workloads,
            )?
            .unwrap_or(MAX_WORKLOADS),
        view: view(&mut from, args.view)?,
        log: log(&mut from, args.log)?,
    };
    from.finish()?;
    Ok(settings)
}

/// One that is named has to be the node's; of /proc itself `tracer doctor` says whether it is.
fn host_proc(named: Option<PathBuf>) -> Result<PathBuf, Usage> {
    match named {
        Some(folder) if !procfs::shows_the_node(&folder) => Err(Usage(format!(
            "--host-proc {folder:?}: does not show the node's processes; mount the node's /proc there (docker: -v \
             /proc:/host/proc:ro, Kubernetes: a hostPath volume of /proc)"
        ))),
        named => Ok(named.unwrap_or_else(|| HOST_PROC.into())),
    }
}

/// The settings of a replay, which reads no configuration file.
pub fn replay(args: args::Replay, env: impl Fn(&str) -> Option<OsString>) -> Result<Replay, Usage> {
    let without_file = |name: &str| env(name).filter(|_| name != "TRACER_CONFIG");
    let mut from = Sources::new(None, without_file)?;
    let stdin = args.files.iter().filter(|file| file.as_os_str() == "-");
    if stdin.count() > 1 {
        return Err(Usage(
            "replay: standard input, `-`, was given more than once".to_owned(),
        ));
    }
    Ok(Replay {
        files: args.files,
        output: from
            .one("output", args.output, values::output)?
            .unwrap_or_default(),
        wide: switch(&mut from, "wide", args.wide)?,
        speed: from.one("speed", args.speed, values::speed)?,
        timeouts: fingerprints::table(from.path("fingerprints", args.fingerprints)?)?,
        filter: filter(&mut from, args.filters)?,
        view: view(&mut from, args.view)?,
        log: log(&mut from, args.log)?,
    })
}

fn view<E: Fn(&str) -> Option<OsString>>(
    from: &mut Sources<E>,
    args: args::View,
) -> Result<View, Usage> {
    Ok(View {
        history: from
            .one("history", args.history, values::history)?
            .unwrap_or(HISTORY),
        theme: from.one("theme", args.theme, values::theme)?,
        ascii: switch(from, "ascii", args.ascii)?,
    })
}

fn filter<E: Fn(&str) -> Option<OsString>>(
    from: &mut Sources<E>,
    args: args::Filters,
) -> Result<Filter, Usage> {
    Ok(Filter {
        abnormal: switch(from, "abnormal", args.abnormal)?,
        events: from.list("events", args.events, values::kind)?,
        pids: from.list("pid", args.pid, values::pid)?,
        comms: from.list("comm", args.comm, values::comm)?,
        ports: from.list("port", args.port, values::port)?,
        local_ports: from.list("local_port", args.local_port, values::port)?,
        peers: from.list("peer", args.peer, values::network)?,
        containers: from.list("container", args.container, values::container)?,
        units: from.list("unit", args.unit, values::unit)?,
        hints: from.list("hint", args.hint, values::hint)?,
        reasons: from.list("reason", args.reason, values::reason)?,
    })
}

/// The settings of a command that reads no configuration file.
pub fn log_only(args: args::Log, env: impl Fn(&str) -> Option<OsString>) -> Result<Log, Usage> {
    let without_file = |name: &str| env(name).filter(|_| name != "TRACER_CONFIG");
    log(&mut Sources::new(None, without_file)?, args)
}

pub fn doctor(
    hooks: Option<String>,
    args: args::Log,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<(Hooks, Log), Usage> {
    let without_file = |name: &str| env(name).filter(|_| name != "TRACER_CONFIG");
    let mut from = Sources::new(None, without_file)?;
    let hooks = from.one("hooks", hooks, values::hooks)?.unwrap_or_default();
    Ok((hooks, log(&mut from, args)?))
}

fn log<E: Fn(&str) -> Option<OsString>>(
    from: &mut Sources<E>,
    args: args::Log,
) -> Result<Log, Usage> {
    let verbose = (args.verbose > 0).then(|| args.verbose.to_string());
    Ok(Log {
        verbosity: from
            .one("verbose", verbose, values::verbosity)?
            .unwrap_or_default(),
        format: from
            .one("log_format", args.log_format, values::log_format)?
            .unwrap_or_default(),
    })
}

fn switch<E: Fn(&str) -> Option<OsString>>(
    from: &mut Sources<E>,
    key: &'static str,
    option: bool,
) -> Result<bool, Usage> {
    let option = option.then(|| true.to_string());
    Ok(from.one(key, option, values::switch)?.unwrap_or_default())
}
