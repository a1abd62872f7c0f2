//! Timeouts of what is in use, and which clock each of them runs on: `timeouts/table.toml`, what a
//! site adds or changes (`--fingerprints`), and the kernel's own as this node has them set.

mod kernel;
mod page;
mod read;

use std::{fmt, sync::LazyLock};

pub use kernel::Sysctls;
pub use read::Fault;

use crate::event::{
    text::Label,
    values::{How, Role},
};

/// What tracer knows without being told.
pub static BUILT_IN: LazyLock<Table> = LazyLock::new(|| {
    // A test holds the file to its form.
    let entries = read::entries(include_str!("timeouts/table.toml"), &[], false);
    Table::new(entries.unwrap_or_default())
});

macro_rules! clocks {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// What has to be as long as the timeout at the first end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Clock { $($(#[doc = $doc])* $variant,)* }

        impl Clock {
            pub const ALL: &'static [Clock] = &[$(Clock::$variant,)*];

            /// As the file spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Clock::$variant => $text,)* }
            }

            /// What it measures.
            pub const fn meaning(self) -> &'static str {
                match self { $(Clock::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

clocks! {
    /// waiting for a response
    Waiting = "waiting",
    /// data of the client, and no answer by the server
    NoAnswer = "no_answer",
    /// what it has to send is not taken
    Sending = "sending",
    /// nothing in either direction
    Idle = "idle",
    /// since the connection was accepted, no request
    Request = "request",
    /// the connection's age
    Age = "age",
    /// since the SYN
    Connect = "connect",
    /// idle for at least as long, then a RST for what was sent, or nothing any more
    Forgotten = "forgotten",
    /// keepalive probes without an answer
    Keepalive = "keepalive",
    /// data sent again without an answer
    Retrans = "retrans",
    /// no progress, by the socket's own TCP_USER_TIMEOUT
    User = "user",
    /// since the SYN, by the kernel
    Syn = "syn",
    /// since our FIN
    FinWait = "fin_wait",
    /// since our FIN, which the peer did not acknowledge
    Orphan = "orphan",
}

/// A set of clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks(u16);

impl Clocks {
    /// All that a process may have set a timeout on: not the kernel's own, and not what boxes forget.
    pub const OF_PROCESSES: Clocks = Clocks(
        1 << Clock::Waiting as u16
            | 1 << Clock::NoAnswer as u16
            | 1 << Clock::Sending as u16
            | 1 << Clock::Idle as u16
            | 1 << Clock::Request as u16
            | 1 << Clock::Age as u16
            | 1 << Clock::Connect as u16,
    );

    pub fn of(clocks: impl IntoIterator<Item = Clock>) -> Self {
        let bit = |clock: Clock| 1 << clock as u16;
        Clocks(clocks.into_iter().fold(0, |set, clock| set | bit(clock)))
    }

    pub const fn has(self, clock: Clock) -> bool {
        self.0 & 1 << clock as u16 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Clock> {
        Clock::ALL
            .iter()
            .copied()
            .filter(move |clock| self.has(*clock))
    }

    /// Of those that several clocks share less is known.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// One timeout.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeout {
    pub id: Label,
    /// What it does; empty for what a site did not say.
    pub what: String,
    /// Defaults that are in use.
    pub values_ms: Vec<u64>,
    pub clocks: Clocks,
    /// The end that hangs up; `None`: either.
    pub closer: Option<Role>,
    /// What it sends; `None`: any.
    pub how: Option<How>,
    /// Names of the process that hangs up, with `*` for anything.
    pub process: Vec<String>,
    /// Names of processes that may be it.
    pub runtime: Vec<String>,
    /// The server's, where that is always the same.
    pub ports: Vec<u16>,
    /// How much later it may come, if more than any.
    pub late_ms: Option<u64>,
    pub late_why: String,
    pub setting: String,
    pub versions: String,
    pub verified: bool,
    /// Met more often than others of this value.
    pub common: bool,
    pub source: String,
    /// This site's own.
    pub site: bool,
    /// As this node's kernel has it set.
    pub node: bool,
}

/// All that are known, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    entries: Vec<Timeout>,
    /// Younger connections are no further looked at for an age limit.
    least_age_ms: Option<u64>,
}

impl Table {
    fn new(mut entries: Vec<Timeout>) -> Self {
        entries.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        let ages = entries
            .iter()
            .filter(|entry| entry.clocks.has(Clock::Age))
            .flat_map(|entry| &entry.values_ms);
        Table {
            least_age_ms: ages.min().copied(),
            entries,
        }
    }

    /// With what a site says; an entry of the same id changes that one.
    pub fn with_site(self, text: &str) -> Result<Self, Fault> {
        let site = read::entries(text, &self.entries, true)?;
        let mut entries = self.entries;
        entries.retain(|entry| site.iter().all(|new| new.id != entry.id));
        entries.extend(site);
        Ok(Table::new(entries))
    }

    /// With the kernel's own as they are set on this node; what a site says of them stays.
    pub fn with_node(mut self, sysctls: &Sysctls) -> Self {
        for (id, value_ms, late_ms) in sysctls.timeouts() {
            let own = |entry: &&mut Timeout| entry.id.as_str() == id && !entry.site;
            if let Some(entry) = self.entries.iter_mut().find(own) {
                entry.values_ms = vec![value_ms];
                entry.late_ms = Some(late_ms);
                entry.node = true;
            }
        }
        self
    }

    pub fn entries(&self) -> &[Timeout] {
        &self.entries
    }

    pub fn get(&self, id: &str) -> Option<&Timeout> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.id.as_str().cmp(id));
        at.ok().and_then(|at| self.entries.get(at))
    }

    /// Every value that processes have, of which ends may come more often, once.
    pub fn values_ms(&self) -> Vec<u64> {
        let of_processes = |entry: &&Timeout| {
            let mut clocks = entry.clocks.iter();
            clocks.any(|clock| Clocks::OF_PROCESSES.has(clock))
        };
        let entries = self.entries.iter().filter(of_processes);
        let mut values: Vec<_> = entries
            .flat_map(|entry| &entry.values_ms)
            .copied()
            .collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    pub fn least_age_ms(&self) -> Option<u64> {
        self.least_age_ms
    }
}

/// A timeout's value as people set it: `60 s`, `1.5 s`, `924.6 s`, `150 ms`.
#[derive(Clone, Copy)]
pub struct Value(pub u64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1_000, self.0 % 1_000) {
            (0, ms) => write!(f, "{ms} ms"),
            (s, 0) => write!(f, "{s} s"),
            (s, ms) => {
                let digits = format!("{ms:03}");
                write!(f, "{s}.{} s", digits.trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
mod tests;
