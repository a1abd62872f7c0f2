//! What can be typed: the one definition from which the parser, the help, the man page and the
//! completions are made. Values stay text here; `settings` says what they mean, because the
//! environment and the configuration file give the same ones.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueHint,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use clap_complete::Shell;

use super::explain;
use crate::event::values::Reason;

/// Who hung up on this TCP connection, when and why
///
/// Traces the end of every TCP connection of this machine, in every network namespace, and says for
/// each which end closed first, how old the connection was then, what was left unread, unsent or
/// unanswered, and which process owned it. A broken pipe is named with its culprit.
#[derive(Debug, Parser)]
#[command(
    name = "tracer",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = true,
    after_help = "`--help` says more, with examples.",
    after_long_help = MORE
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Sub>,
    #[command(flatten)]
    pub live: Live,
}

/// What the long help and the man page end with: sections, each a line with a colon and what is
/// indented below it, within the width of a man page.
pub const MORE: &str = "\
Examples:
  tracer                           every end, as it happens
  tracer --abnormal                only what was not a clean close
  tracer --port 80 --port 443      connections with one of these ports
  tracer --comm nginx --reason fin_peer_rst,rst_peer
                                   broken pipes and resets of nginx
  tracer --peer 10.0.0.0/8 --for 5m -o json > ends.ndjson
  tracer --port 80 -o json | jq -r 'select(.story) | .story'
  tracer explain fin_peer_rst      what that means and what to check

Values:
  DURATION  a number and a unit: 1500ms, 30s, 2m, 1h30m
  SIZE      bytes, or with K, M, G in steps of 1024: 65536, 512K, 16M
  LIST      one or more, separated by commas; the option can be repeated
  CIDR      a LIST of addresses and networks: 10.2.0.7,2001:db8::/32

Units:
  Keys of json events name theirs: _ms, _us, _s, _bytes. Text shows ages as
  812ms, 2.0s, 1m05s or 2h11m, sizes in bytes or in K, M, G of 1024 bytes
  (exact with -w), and times in UTC.

Choosing:
  The values of one filter are alternatives; different filters have to hold
  together. They decide what is written, not what is known: a record names its
  culprit also when the culprit's own record is left out.

Settings:
  Every option can also be set in the file that --config or TRACER_CONFIG
  names (`tracer gen config` prints a complete one), and as a variable of the
  environment: --ring-size is ring_size in the file and TRACER_RING_SIZE in
  the environment. An option wins over the environment, that over the file.

Exit status:
  0  after --for, --count, SIGINT or SIGTERM, or when the reader of stdout
     went away
  1  a failure while running, or a missing privilege; the message names it
  2  wrong usage or configuration; nothing was attached";

/// Options of the live command. Names of fields are the keys of the configuration file.
#[derive(Debug, Default, Args)]
pub struct Live {
    /// Read options from this TOML file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Configuration")]
    pub config: Option<PathBuf>,

    /// Timeouts of this site, for the hints of events
    ///
    /// A TOML file: `checkout-lb = "45s"` names one, a line such as `nginx.proxy_read_timeout =
    /// "120s"` changes one of tracer's own. docs/timeouts.md has them all, and the other keys.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Configuration")]
    pub fingerprints: Option<PathBuf>,

    /// How to write events [default: auto]
    ///
    /// `tui`: the live view. `json`: one object a line (`tracer schema` describes it). `text`: for
    /// people. `auto`: the live view on a terminal, json otherwise.
    #[arg(short, long, value_name = "FORMAT", value_parser = Words(&["auto", "tui", "json", "text"]), help_heading = "Output")]
    pub output: Option<String>,

    /// Append to this file instead of writing to stdout
    ///
    /// It is made with mode 0640 and reopened on SIGHUP, for log rotation.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub output_file: Option<PathBuf>,

    /// Text without the limit of 100 columns, with more of them
    #[arg(short, long, help_heading = "Output")]
    pub wide: bool,

    /// Which ends get a story and a timeline: all, or all but clean ones [default: abnormal]
    #[arg(long, value_name = "WHICH", value_parser = Words(&["abnormal", "all"]), help_heading = "Output")]
    pub stories: Option<String>,

    /// Stop after this time
    #[arg(long = "for", value_name = "DURATION", help_heading = "Output")]
    pub duration: Option<String>,

    /// Stop after this many events
    ///
    /// Written tcp_* events count; tracer's own lines (start, lost, heartbeat, stop) do not.
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub count: Option<String>,

    /// Time between two `heartbeat` lines [default: 60s]
    ///
    /// They have the counters and the hooks that are attached: whoever reads the lines knows by them
    /// that nothing happened, and not that nobody looked.
    #[arg(long, value_name = "DURATION", help_heading = "Output")]
    pub heartbeat: Option<String>,

    #[command(flatten)]
    pub view: View,

    #[command(flatten)]
    pub filters: Filters,

    /// Serve metrics for Prometheus at /metrics of this address, and /healthz
    ///
    /// An address and a port, or a port alone, which is that of 127.0.0.1: nobody else can reach it
    /// unless told otherwise. What the filters leave out is not counted. docs/metrics.md has them all.
    #[arg(long, value_name = "ADDR", help_heading = "Metrics")]
    pub metrics_listen: Option<String>,

    /// Workloads that metrics name, the first ones; the rest is `_other` [default: 200]
    #[arg(long, value_name = "N", help_heading = "Metrics")]
    pub metrics_max_workloads: Option<String>,

    /// Attach by this family of hooks where the kernel leaves a choice [default: auto]
    #[arg(long, value_name = "FAMILY", value_parser = Words(&["auto", "tp_btf", "fentry", "kprobe"]), help_heading = "Kernel")]
    pub hooks: Option<String>,

    /// Buffer between kernel and tracer [default: 16M]
    ///
    /// Rounded up to a power of two, 64K at least. Larger survives longer bursts; `lost` lines say
    /// when it was too small.
    #[arg(long, value_name = "SIZE", help_heading = "Kernel")]
    pub ring_size: Option<String>,

    /// Connections that can be tracked at a time [default: 131072]
    #[arg(long, value_name = "N", help_heading = "Kernel")]
    pub max_connections: Option<String>,

    /// Where the node's /proc is mounted, for tracing in a container with pids of its own [default: /proc]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Kernel")]
    pub host_proc: Option<PathBuf>,

    #[command(flatten)]
    pub log: Log,
}

/// How the live view is: the same for a live run and for a recording.
#[derive(Debug, Default, Args)]
pub struct View {
    /// Events that the live view keeps [default: 10000]
    ///
    /// Clean closes are dropped first. Totals, groups and ages count on.
    #[arg(long, value_name = "N", help_heading = "Live view")]
    pub history: Option<String>,

    /// Colours of the live view [default: default, or mono with NO_COLOR]
    ///
    /// Nothing is told by colour alone, whatever the theme. `T` changes it in the view.
    #[arg(long, value_name = "THEME", value_parser = Words(THEMES), help_heading = "Live view")]
    pub theme: Option<String>,

    /// Draw the live view in ASCII, as where the locale is not UTF-8
    #[arg(long, help_heading = "Live view")]
    pub ascii: bool,
}

/// What to write: the same for a live run and for a recording.
#[derive(Debug, Default, Args)]
pub struct Filters {
    /// Leave out clean closes
    ///
    /// Clean is an end by FIN without any RST or error on the connection, nothing unread,
    /// unacknowledged, unsent or written after the peer's FIN, and no request left unanswered.
    #[arg(long, help_heading = "Filters")]
    pub abnormal: bool,

    /// Only these kinds of event
    ///
    /// tracer's own lines (start, lost, heartbeat, stop) are always written.
    #[arg(long, value_name = "LIST", value_parser = Words(EVENTS), help_heading = "Filters")]
    pub events: Vec<String>,

    /// Connections that this process owned, by its id outside of any container
    #[arg(long, value_name = "LIST", help_heading = "Filters")]
    pub pid: Vec<String>,

    /// Connections of processes with exactly this name, as `ps -o comm` shows it
    #[arg(long, value_name = "LIST", value_hint = ValueHint::CommandName, help_heading = "Filters")]
    pub comm: Vec<String>,

    /// Connections with this port at either end
    #[arg(long, value_name = "LIST", help_heading = "Filters")]
    pub port: Vec<String>,

    /// Connections with this port at this end
    #[arg(long, value_name = "LIST", help_heading = "Filters")]
    pub local_port: Vec<String>,

    /// Connections whose peer has this address or is in this network
    #[arg(long, value_name = "CIDR", help_heading = "Filters")]
    pub peer: Vec<String>,

    /// Connections of this container: its name, its id, or the first 6 or more digits of that; `-`: of none
    #[arg(long, value_name = "LIST", help_heading = "Filters")]
    pub container: Vec<String>,

    /// Connections of this systemd unit, with its type: nginx.service
    #[arg(long, value_name = "LIST", help_heading = "Filters")]
    pub unit: Vec<String>,

    /// Ends that this timeout fits, such as nginx.proxy_read_timeout; `-`: that none fits
    ///
    /// docs/timeouts.md has them all; those of --fingerprints count too.
    #[arg(long, value_name = "LIST", help_heading = "Filters")]
    pub hint: Vec<String>,

    /// Ends with this reason, and I/O errors with this culprit
    ///
    /// `tracer explain REASON` says what each one means. A tcp_reset has no reason and is left out.
    #[arg(long, value_name = "LIST", value_parser = Names(reasons), hide_possible_values = true, help_heading = "Filters")]
    pub reason: Vec<String>,
}

/// Options of `tracer replay`.
#[derive(Debug, Default, Args)]
pub struct Replay {
    /// Recordings made with `-o json`, several are merged by time; `-`: standard input, also while it grows
    ///
    /// The live view goes on with a file that grows; json and text end at its end.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// How to write events [default: auto]
    ///
    /// `auto`: the live view on a terminal, json otherwise. json gives the lines of the recording back
    /// as they are.
    #[arg(short, long, value_name = "FORMAT", value_parser = Words(&["auto", "tui", "json", "text"]), help_heading = "Output")]
    pub output: Option<String>,

    /// Text without the limit of 100 columns, with more of them
    #[arg(short, long, help_heading = "Output")]
    pub wide: bool,

    /// How fast: as it happened, ten times that, or at once [default: 1 in the live view, else max]
    #[arg(long, value_name = "SPEED", value_parser = Words(&["1", "10", "max"]), help_heading = "Output")]
    pub speed: Option<String>,

    /// Timeouts of this site, for the live view
    ///
    /// Those that are marked among the ages, and what is said of an end's hints, which stay as they were
    /// recorded.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Configuration")]
    pub fingerprints: Option<PathBuf>,

    #[command(flatten)]
    pub view: View,

    #[command(flatten)]
    pub filters: Filters,

    #[command(flatten)]
    pub log: Log,
}

/// Options for what tracer says about itself, on stderr.
#[derive(Debug, Default, Args)]
pub struct Log {
    /// Say more about what tracer does, on stderr; repeat for still more
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Diagnostics")]
    pub verbose: u8,

    /// How to write that [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = Words(&["text", "json"]), help_heading = "Diagnostics")]
    pub log_format: Option<String>,
}

/// Who a process of the demo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    Client,
    Server,
}

#[derive(Debug, Subcommand)]
pub enum Sub {
    /// Break a pipe on loopback and explain its records: start here
    ///
    /// A client and a server on loopback: the client hangs up before the answer is there, and the
    /// server writes it all the same. tracer shows the records of both ends and says what they
    /// mean. Needs the same privilege as tracing.
    Demo {
        #[command(flatten)]
        log: Log,
        /// The demo starts itself again as the client and as the server
        #[arg(long, hide = true, value_enum, requires = "port")]
        part: Option<Part>,
        #[arg(long, hide = true)]
        port: Option<u16>,
    },
    /// Say what this kernel offers: which hook serves each signal, and what cannot be seen
    ///
    /// Loads and attaches everything for a moment, as tracing does. Exit status 1 when tracing is
    /// impossible, with the one thing to fix.
    Doctor {
        /// One JSON object, verifier logs included
        #[arg(long)]
        json: bool,
        /// As tracing with this family of hooks does [default: auto]
        #[arg(long, value_name = "FAMILY", value_parser = Words(&["auto", "tp_btf", "fentry", "kprobe"]))]
        hooks: Option<String>,
        #[command(flatten)]
        log: Log,
    },
    /// Show recorded events again, with the same outputs and filters
    ///
    /// `tracer -o json > ends.ndjson` makes a recording. A line that is no event is counted, told
    /// with its number and passed over. Options can also be set in the environment; the
    /// configuration file is not read.
    Replay(Box<Replay>),
    /// Say what a reason, a pattern or a hint means and what to check next
    Explain {
        /// A value of the keys `reason`, `pattern` or `rst_reason`, or one of `hints`
        #[arg(value_name = "REASON|PATTERN|HINT", value_parser = Names(explain::names))]
        name: String,
    },
    /// Print the JSON Schema of the events
    Schema,
    /// Print the man page, shell completions or a configuration file
    #[command(name = "gen", disable_help_subcommand = true)]
    Generate {
        #[command(subcommand)]
        what: Generate,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Generate {
    /// The man page: tracer gen man > tracer.8
    Man,
    /// Completions for a shell
    Completions { shell: Shell },
    /// A complete configuration file in which everything is commented out
    Config,
}

/// Kinds of event that can be chosen.
const EVENTS: &[&str] = &[
    "tcp_close",
    "tcp_connect_failed",
    "tcp_reset",
    "tcp_io_error",
];

const THEMES: &[&str] = &["default", "colour-blind", "high-contrast", "mono"];

fn reasons() -> Vec<PossibleValue> {
    Reason::ALL
        .iter()
        .map(|reason| PossibleValue::new(reason.as_str()).help(reason.meaning()))
        .collect()
}

/// Any text, with words that help and completions offer. It is judged later, together with what
/// comes from elsewhere.
#[derive(Clone)]
struct Words(&'static [&'static str]);

/// The same with a meaning for each word.
#[derive(Clone)]
struct Names(fn() -> Vec<PossibleValue>);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = self.0.iter().copied();
        Some(Box::new(words.map(PossibleValue::new)))
    }
}

impl TypedValueParser for Names {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter()))
    }
}
