//! From a joined end, RST or failed call to the event that is written.

mod stall;

use rustc_hash::FxHashMap;
use tracer_common::{
    conn::{Conn, attribution, flag},
    proto::AF_INET,
    record::{Head as RecordHead, Record, kind},
    sock::{SockSnap, sock_bit},
    task::Task,
};

use super::{
    chain::{self, Chains, Hop, Others, Way},
    classify::{self, Evidence, Verdict},
    clusters::Clusters,
    community_id::community_id,
    deaths::Deaths,
    explain,
    facts::Facts,
    hints::{self, Closing},
    join::{self, Finished, Joined},
    names::{self, Names},
    numbers::{self, Idle},
    pattern::{self, Found},
    renames::Renames,
    stall::{Silent, Stalls},
    timeline,
    timeouts::Table,
};
use crate::event::{
    Body, Called, End, Event, Head, Ids, IoError, Reset, SCHEMA_VERSION,
    names::RstReasons,
    text::{Addr, Comm, Label},
    time::Timestamp,
    values::*,
};

/// Failed calls of one connection that are told one by one (tracer-ebpf's `TOLD`).
const IO_ERRORS_TOLD: u32 = 3;

/// RSTs without a socket that are written in a second.
const STRAY_RSTS_PER_SECOND: u64 = 100;

/// Ended connections that are remembered while a process holds their descriptor.
const ENDED_MAX: usize = 65_536;

/// Slots for connections that may be in TIME_WAIT.
const RECENT_SLOTS: usize = 16_384;

/// What is the same for every event of a run.
#[derive(Clone, Debug)]
pub struct Run {
    pub run_id: Label,
    pub node: Label,
    pub boot_id: Label,
    pub jiffy_ns: u64,
    pub reasons: RstReasons,
    /// Write story and timeline for clean closes too.
    pub stories_for_all: bool,
    /// Failed sends are seen: that none was seen means that none failed.
    pub sends_seen: bool,
    /// What an end's clocks are compared with.
    pub timeouts: Table,
}

impl Run {
    fn boot(&self) -> [u8; 8] {
        let mut boot = [b'0'; 8];
        for (to, from) in boot.iter_mut().zip(self.boot_id.as_str().bytes()) {
            *to = from;
        }
        boot
    }
}

/// What later events of an ended connection say of it.
#[derive(Clone, Debug)]
struct Ended {
    birth_ns: u64,
    ids: Ids,
    verdict: Verdict,
    end_age_ms: Option<u64>,
    story: Option<Label>,
}

/// What the keys of a connection are made of, names apart: those its processes have.
#[derive(Clone, Copy, Debug)]
struct Who {
    cookie: u64,
    flow_id: Option<Hex16>,
    saddr: [u8; 16],
    daddr: [u8; 16],
    sport: u16,
    dport: u16,
    family: u16,
    role: Role,
    attribution: Attribution,
    uid: Option<u32>,
    netns: u32,
    cgroup_id: u64,
    owner: Task,
    closer: Task,
    peer_owner: Task,
    peer_cookie: u64,
}

impl Who {
    fn of(head: &RecordHead, conn: &Conn, sock: &SockSnap) -> Self {
        Who {
            cookie: head.cookie,
            flow_id: flow_id(conn),
            saddr: sock.saddr,
            daddr: sock.daddr,
            sport: sock.sport,
            dport: sock.dport,
            family: sock.family,
            role: numbers::role(conn, sock),
            attribution: attribution_of(conn),
            uid: sock.has(sock_bit::FULL).then_some(sock.uid),
            netns: sock.netns,
            // A RST without a socket is sent through one of the kernel's own, whose cgroup is nobody's.
            cgroup_id: if head.cookie == 0 { 0 } else { sock.cgroup_id },
            owner: conn.owner,
            closer: conn.closer,
            peer_owner: conn.peer_owner,
            peer_cookie: conn.peer_cookie,
        }
    }
}

/// Makes events. Keeps what an event must say of a connection that is over.
pub struct Assembler {
    run: Run,
    boot: [u8; 8],
    /// CLOCK_REALTIME − CLOCK_MONOTONIC, ns.
    pub wall_offset_ns: i64,
    /// Events lost so far, for the `lost` key.
    pub lost: u64,
    /// Ended, descriptor open.
    ended: FxHashMap<u64, Ended>,
    /// Ended, perhaps in TIME_WAIT: direct-mapped by cookie, which counts up, so the newest win.
    recent: Vec<Option<Who>>,
    pub renames: Renames,
    pub deaths: Deaths,
    chains: Chains,
    clusters: Clusters,
    stalls: Stalls,
    /// Second, and RSTs without a socket written in it.
    stray: (u64, u64),
    stray_suppressed: u64,
}

impl Assembler {
    pub fn new(run: Run) -> Self {
        let boot = run.boot();
        Assembler {
            run,
            boot,
            wall_offset_ns: 0,
            lost: 0,
            ended: FxHashMap::default(),
            recent: vec![None; RECENT_SLOTS],
            renames: Renames::default(),
            deaths: Deaths::default(),
            chains: Chains::default(),
            clusters: Clusters::default(),
            stalls: Stalls::default(),
            stray: (0, 0),
            stray_suppressed: 0,
        }
    }

    /// Gives back the room that a flood has taken.
    pub fn shrink(&mut self) {
        self.ended.shrink_to_fit();
    }

    /// The head of an event at `ts_ns`, CLOCK_MONOTONIC.
    pub fn head(&self, event: Kind, ts_ns: u64) -> Head {
        Head {
            v: SCHEMA_VERSION,
            event,
            ts: Timestamp(ts_ns.saturating_add_signed(self.wall_offset_ns)),
            mono_us: ts_ns / 1000,
            seq: 0,
            run_id: self.run.run_id.clone(),
            node: self.run.node.clone(),
            boot_id: self.run.boot_id.clone(),
        }
    }

    /// What is about to be told: ends that are told together may explain each other.
    pub fn foresee(&mut self, joined: &Joined) {
        if let Joined::End(finished) = joined
            && chain::is_more(&finished.close.conn)
            && let Some(hop) = Hop::ended(finished, &self.judge(finished), &self.renames)
        {
            self.chains.note(hop);
        }
    }

    /// `None`: nothing to write.
    pub fn assemble(
        &mut self,
        joined: &Joined,
        names: &mut dyn Names,
        others: &mut dyn Others,
    ) -> Option<Event> {
        match joined {
            Joined::End(finished) => self.end(finished, names, others),
            Joined::Reset(record) => self.reset(record, names),
            Joined::IoError(record, end) => {
                Some(self.io_error(record, end.as_deref(), names, others))
            }
            Joined::Gone(cookie) => {
                self.ended.remove(cookie);
                None
            }
        }
    }

    fn end(
        &mut self,
        finished: &Finished,
        names: &mut dyn Names,
        others: &mut dyn Others,
    ) -> Option<Event> {
        let cookie = finished.close.head.cookie;
        let told = self.ended.get(&cookie);
        if told.is_some_and(|told| join::told_before(&finished.close.conn, told.birth_ns)) {
            self.ended.remove(&cookie);
            return None;
        }
        let facts = self.judge(finished);
        let kind = if facts.connect_failed {
            Kind::TcpConnectFailed
        } else {
            Kind::TcpClose
        };
        let (ids, end) = self.end_body(finished, &facts, names, others, true);
        if chain::is_more(&finished.close.conn) {
            self.chains.told(&finished.close.conn);
        }
        self.stalls
            .forget(&finished.close.head, &finished.close.conn);
        if finished.held && self.ended.len() < ENDED_MAX {
            let ended = Ended {
                birth_ns: finished.close.conn.birth_ns,
                ids: ids.clone(),
                verdict: facts.verdict,
                end_age_ms: facts.end_age_ms,
                story: end.story.clone(),
            };
            self.ended.insert(cookie, ended);
        }
        if finished.close.conn.has(flag::LOCAL_FIN) {
            let Record {
                head, conn, sock, ..
            } = &finished.close;
            self.recent[cookie as usize % RECENT_SLOTS] = Some(Who::of(head, conn, sock));
        }
        Some(Event {
            head: self.head(kind, finished.close.head.ts_ns),
            body: Body::End { ids, end },
        })
    }

    fn judge(&self, finished: &Finished) -> Facts {
        let Record {
            head, conn, sock, ..
        } = &finished.close;
        let mut bytes = numbers::bytes(conn, sock);
        if finished.held && bytes.rx_unread != Some(0) && !conn.has(flag::CLOSE_IN_TASK) {
            // The process may still read it.
            bytes.rx_unread = None;
        }
        let verdict = classify::classify(&Evidence {
            conn,
            sock,
            bytes: &bytes,
            sent: finished.sent,
            rst_received: finished.rst_received,
        });
        let connect_failed = classify::is_connect_failure(conn, sock);
        let close_ns = finished.close.head.ts_ns;
        let first_fin_ns = [conn.local_fin_ns, conn.peer_fin_ns]
            .into_iter()
            .filter(|ns| *ns != 0)
            .min();
        // A FIN that was there before tracing began has no time, and was the first.
        let fin_before_start = first_fin_ns.is_none() && conn.has(flag::LOCAL_FIN | flag::PEER_FIN)
            || (conn.has(flag::PREEXISTING)
                && conn.has(flag::LOCAL_FIN)
                && conn.has(flag::PEER_FIN)
                && (conn.local_fin_ns == 0 || conn.peer_fin_ns == 0)
                && !conn.has(flag::CLOSING));
        let first_end_ns = if fin_before_start || numbers::peer_fin_unseen(conn, sock) {
            None
        } else {
            Some(first_fin_ns.unwrap_or(close_ns))
        };
        let began_ns = if connect_failed {
            conn.birth_ns
        } else {
            conn.established_ns
        };
        let began = (began_ns != 0 && !conn.has(flag::PREEXISTING)).then_some(began_ns);
        let ms = |from: u64, to: u64| to.saturating_sub(from) / 1_000_000;
        let end_age_ms = began.zip(first_end_ns).map(|(from, to)| ms(from, to));
        Facts {
            verdict,
            connect_failed,
            end_age_ms,
            age_ms: began
                .filter(|_| !connect_failed)
                .map(|from| ms(from, close_ns)),
            half_close_ms: first_end_ns
                .filter(|_| first_fin_ns.is_some())
                .map(|from| ms(from, close_ns)),
            first_end_ns,
            idle: if connect_failed {
                Idle::default()
            } else {
                numbers::idle(conn, sock, self.run.jiffy_ns).within(end_age_ms)
            },
            bytes,
            silent: self.stalls.at_end(head, conn, sock),
            aborts: match verdict.closed_by {
                ClosedBy::Peer => self.deaths.aborts(&conn.peer_owner, conn.peer_fin_ns),
                _ => self
                    .deaths
                    .aborts(&conn.closer, own_end_ns(&finished.close)),
            },
        }
    }

    /// `counts`: this is the end's own record, and not that of a call which speaks of it.
    fn end_body(
        &mut self,
        finished: &Finished,
        facts: &Facts,
        names: &mut dyn Names,
        others: &mut dyn Others,
        counts: bool,
    ) -> (Ids, End) {
        let way = self.way(finished, facts, others);
        let Record { conn, sock, .. } = &finished.close;
        let (ids, cut) = self.ids(&Who::of(&finished.close.head, conn, sock), names);
        let Facts {
            verdict,
            bytes,
            idle,
            ..
        } = facts;
        let full = sock.has(sock_bit::FULL);
        let untracked = conn.has(flag::UNTRACKED);
        let rst_reason = finished
            .sent
            .and_then(|_| self.run.reasons.name(finished.sent_code));
        let mut end = End {
            reason: verdict.reason,
            closed_by: verdict.closed_by,
            how: verdict.how,
            state: Some(State(sock.state)).filter(|_| !conn.has(flag::RECOVERED)),
            errno: Errno::from_code(sock.sk_err),
            rst_reason: rst_reason.map(Label::from),
            end_age_ms: facts.end_age_ms,
            age_ms: facts.age_ms,
            idle_rx_ms: idle.rx_ms,
            idle_tx_ms: idle.tx_ms,
            last_data: last_data(ids.role, idle),
            half_close_ms: facts.half_close_ms,
            preexisting: conn.has(flag::PREEXISTING) || untracked,
            rx_bytes: bytes.rx,
            tx_bytes: bytes.tx,
            tx_unacked_bytes: bytes.tx_unacked,
            tx_unsent_bytes: bytes.tx_unsent,
            rx_unread_bytes: bytes.rx_unread,
            tx_after_fin_bytes: bytes.tx_after_fin,
            retrans: full.then_some(sock.total_retrans),
            srtt_us: (full && sock.srtt_us8 != 0).then_some(sock.srtt_us8 >> 3),
            read_errno: Errno::from_code(i32::from(finished.io.read)),
            write_errno: Errno::from_code(i32::from(finished.io.write)),
            io_errors: finished.io.count,
            sigpipe: finished.io.sigpipe,
            pattern: None,
            hints: List(Vec::new()),
            hint_s: None,
            repeats: None,
            cause_conn: way.cause.map(|cookie| self.conn_id(cookie)),
            root_conn: way.root.map(|cookie| self.conn_id(cookie)),
            chain: way.chain,
            story: None,
            timeline: None,
            suppressed: finished.io.count.saturating_sub(IO_ERRORS_TOLD),
            mptcp: sock.has(sock_bit::MPTCP),
            truncated: cut,
            lost: self.lost,
            exit_signal: None.into(),
            exit_status: None.into(),
            killer_signal: None.into(),
            killer_signal_ms: None.into(),
            killer_pid: None.into(),
            killer_comm: None.into(),
            oom_killed: None.into(),
        };
        self.tell_death(finished, &mut end);
        let moments = || List(timeline::timeline(finished, facts, self.run.jiffy_ns));
        // Where RSTs have no reasons nothing else says that one was sent.
        end.timeline = finished.sent.is_some().then(moments);
        let silent = facts.silent.as_ref();
        let aside = self.diagnose(finished, silent, &ids, &mut end, names, counts);
        if end.pattern != Some(Pattern::Normal) || self.run.stories_for_all {
            let gave_up = stall::gave_up(verdict.reason, sock, silent);
            let sends_seen = self.run.sends_seen;
            end.story = Some(explain::story(&ids, &end, sends_seen, &aside, &gave_up).into());
            end.timeline = Some(List(timeline::timeline(finished, facts, self.run.jiffy_ns)));
        }
        (ids, end)
    }

    /// Pattern, timeouts that fit, and how often that came. Returns what the story says of it.
    fn diagnose(
        &mut self,
        finished: &Finished,
        silent: Option<&Silent>,
        ids: &Ids,
        end: &mut End,
        names: &mut dyn Names,
        counts: bool,
    ) -> String {
        let Record { conn, sock, .. } = &finished.close;
        let table = &self.run.timeouts;
        let mut found = pattern::pattern(conn, ids, end, silent);
        let mut hints = None;
        if hints::may_fit(table, found, end) {
            let task = closer(conn, end);
            let comm = task.map(|task| self.renames.name(task));
            let comm = comm.as_ref().map(Comm::text);
            let exe = task.and_then(|task| names.name(task, 0).exe);
            let here = Closing::Here {
                comm: comm.as_deref(),
                exe: exe.as_ref().map(Label::as_str),
            };
            let view = hints::View {
                ids,
                end,
                closing: if closes_here(ids, end, found) {
                    here
                } else {
                    Closing::Elsewhere
                },
                user_timeout_ms: u64::from(sock.user_timeout_ms),
            };
            hints = view.hints(table, found);
            if hints.is_none() {
                hints = view.age_limit(table, found);
                found = match hints {
                    Some(_) => Some(Found {
                        pattern: Pattern::MaxAge,
                        clock_ms: end.end_age_ms,
                    }),
                    None => found,
                };
            }
        }
        end.pattern = found.map(|found| found.pattern);
        if let Some(hints) = &hints {
            end.hints = List(hints.ids.clone());
            end.hint_s = Some(hints.value_ms.saturating_add(500) / 1_000);
        }
        let clock = found.and_then(|found| Some((found.pattern, found.clock_ms?)));
        let repeat = clock
            .filter(|_| counts)
            .map(|(pattern, clock_ms)| self.clusters.count(ids, pattern, clock_ms));
        end.repeats = repeat.map(|repeat| repeat.count).filter(|count| *count > 1);
        explain::aside(hints.as_ref(), repeat)
    }

    /// The clusters of ends at the same clock, for `stop`.
    pub fn clusters(&self) -> Vec<Cluster> {
        self.clusters.top()
    }

    /// What is behind the end: nothing but the two ends for most.
    fn way(&mut self, finished: &Finished, facts: &Facts, others: &mut dyn Others) -> Behind {
        let conn = &finished.close.conn;
        if chain::is_more(conn)
            && let Some(hop) = Hop::ended(finished, facts, &self.renames)
        {
            let mut chains = std::mem::take(&mut self.chains);
            let way = chains.way(&hop, &mut |socket| {
                let judge = |finished: &Finished| self.judge(finished);
                chain::find(socket, others, self.run.jiffy_ns, &self.renames, &judge)
            });
            self.chains = chains;
            return way.map_or_else(Behind::default, Behind::from);
        }
        let root = match facts.verdict.closed_by {
            ClosedBy::Local | ClosedBy::Kernel => finished.close.head.cookie,
            ClosedBy::Peer => conn.peer_cookie,
            ClosedBy::Unknown => 0,
        };
        Behind {
            root: (root != 0).then_some(root),
            ..Behind::default()
        }
    }

    /// How the process died that ended the connection by dying, or what it had been told to.
    fn tell_death(&self, finished: &Finished, end: &mut End) {
        let at_ns = own_end_ns(&finished.close);
        let closer = &finished.close.conn.closer;
        let Some(death) = self.deaths.of(closer, at_ns, &self.renames) else {
            return;
        };
        end.exit_signal = death.signal.into();
        end.exit_status = death.status.into();
        end.oom_killed = death.oom.then_some(true).into();
        if let Some(told) = death.told {
            end.killer_signal = Some(told.signal).into();
            end.killer_signal_ms = Some(told.before_ms).into();
            end.killer_pid = told.by.map(|(pid, _)| pid).into();
            end.killer_comm = told.by.map(|(_, comm)| comm).into();
        }
    }

    fn conn_id(&self, cookie: u64) -> ConnId {
        ConnId {
            boot: self.boot,
            cookie,
        }
    }

    /// The connection's keys, and whether a name in them was cut.
    fn ids(&self, who: &Who, names: &mut dyn Names) -> (Ids, bool) {
        let id = |cookie: u64| (cookie != 0).then(|| self.conn_id(cookie));
        let local_addr = Addr::from_bytes(who.saddr);
        let peer_addr = Addr::from_bytes(who.daddr);
        let owner = Some(&who.owner).filter(|task| task.is_known());
        let closer = Some(&who.closer).filter(|task| task.is_known());
        let peer = Some(&who.peer_owner).filter(|task| task.is_known());
        let mut ids = Ids {
            conn: id(who.cookie),
            flow_id: who.flow_id,
            community_id: (who.family != 0)
                .then(|| community_id((local_addr.0, who.sport), (peer_addr.0, who.dport))),
            family: if who.family == AF_INET || local_addr.0.is_ipv4() {
                Family::Ipv4
            } else {
                Family::Ipv6
            },
            local_addr,
            local_port: who.sport,
            peer_addr,
            peer_port: who.dport,
            role: who.role,
            pid: owner.map(|task| task.tgid),
            tid: owner.map(|task| task.tid),
            comm: owner.map(|task| self.renames.name(task)),
            exe: None,
            uid: who.uid,
            attribution: who.attribution,
            closer_pid: closer.map(|task| task.tgid),
            closer_comm: closer.map(|task| self.renames.name(task)),
            netns: (who.netns != 0).then_some(who.netns),
            cgroup: None,
            container_id: None,
            runtime: None,
            pod_uid: None,
            unit: None,
            peer_pid: peer.map(|task| task.tgid),
            peer_comm: peer.map(|task| self.renames.name(task)),
            peer_conn: id(who.peer_cookie),
            peer_container_id: peer
                .and_then(|task| names.name(task, 0).place)
                .and_then(|place| place.container_id.clone()),
            called: Called::default(),
        };
        let cut = names::fill(&mut ids, names.name(&who.owner, who.cgroup_id));
        (ids, cut)
    }

    fn reset(&mut self, record: &Record, names: &mut dyn Names) -> Option<Event> {
        let cookie = record.head.cookie;
        let sent = record.head.kind == kind::RST_SENT;
        if cookie == 0 && self.suppress(record.head.ts_ns) {
            return None;
        }
        // A timewait or destroyed socket: what its connection was is remembered here.
        let recent = &self.recent[cookie as usize % RECENT_SLOTS];
        let known = recent
            .as_ref()
            .filter(|who| record.conn.birth_ns == 0 && cookie != 0 && who.cookie == cookie);
        let (ids, _) = match known {
            Some(who) => self.ids(who, names),
            None => self.ids(&Who::of(&record.head, &record.conn, &record.sock), names),
        };
        let reason = self.run.reasons.name(record.head.code).filter(|_| sent);
        let reset = Reset {
            direction: if sent {
                Direction::Sent
            } else {
                Direction::Received
            },
            rst_reason: reason.map(Label::from),
            state: (record.head.sk != 0 || cookie != 0).then_some(State(record.sock.state)),
            suppressed: if cookie == 0 {
                std::mem::take(&mut self.stray_suppressed)
            } else {
                0
            },
        };
        Some(Event {
            head: self.head(Kind::TcpReset, record.head.ts_ns),
            body: Body::Reset { ids, reset },
        })
    }

    /// Whether a RST without a socket is one too many in its second.
    fn suppress(&mut self, ts_ns: u64) -> bool {
        let second = ts_ns / 1_000_000_000;
        if self.stray.0 != second {
            self.stray = (second, 0);
        }
        self.stray.1 += 1;
        let too_many = self.stray.1 > STRAY_RSTS_PER_SECOND;
        self.stray_suppressed += u64::from(too_many);
        too_many
    }

    fn io_error(
        &mut self,
        record: &Record,
        end: Option<&Finished>,
        names: &mut dyn Names,
        others: &mut dyn Others,
    ) -> Event {
        let culprit = end
            .map(|finished| {
                let facts = self.judge(finished);
                let (ids, end) = self.end_body(finished, &facts, names, others, false);
                Ended {
                    birth_ns: finished.close.conn.birth_ns,
                    ids,
                    verdict: facts.verdict,
                    end_age_ms: facts.end_age_ms,
                    story: end.story,
                }
            })
            .or_else(|| self.ended.get(&record.head.cookie).cloned());
        let mut ids = match &culprit {
            // A connect that failed has no addresses any more; its end had them.
            Some(ended) => ended.ids.clone(),
            None => {
                let who = Who::of(&record.head, &record.conn, &record.sock);
                self.ids(&who, names).0
            }
        };
        if record.actor.is_known() {
            ids.pid = Some(record.actor.tgid);
            ids.tid = Some(record.actor.tid);
            ids.comm = Some(self.renames.name(&record.actor));
            ids.attribution = Attribution::Io;
            names::fill(&mut ids, names.name(&record.actor, record.sock.cgroup_id));
        }
        let io = IoError {
            op: if record.head.kind == kind::SEND_ERROR {
                Op::Send
            } else {
                Op::Recv
            },
            errno: Errno(record.head.code),
            sigpipe: record.extra != 0,
            reason: culprit.as_ref().map(|ended| ended.verdict.reason),
            closed_by: culprit.as_ref().map(|ended| ended.verdict.closed_by),
            how: culprit.as_ref().map(|ended| ended.verdict.how),
            end_age_ms: culprit.as_ref().and_then(|ended| ended.end_age_ms),
            story: culprit.and_then(|ended| ended.story),
        };
        Event {
            head: self.head(Kind::TcpIoError, record.head.ts_ns),
            body: Body::IoError { ids, io },
        }
    }
}

/// The keys that say what is behind an end.
#[derive(Default)]
struct Behind {
    cause: Option<u64>,
    root: Option<u64>,
    chain: Option<List<Label>>,
}

impl From<Way> for Behind {
    /// Where nothing was wrong, one end after another is no chain.
    fn from(way: Way) -> Self {
        let is_chain = way.abnormal && way.deeds.len() > 1;
        Behind {
            cause: way.cause,
            root: Some(way.root),
            chain: is_chain.then_some(List(way.deeds)),
        }
    }
}

/// When our process closed it, or when it ended otherwise.
fn own_end_ns(close: &Record) -> u64 {
    match close.conn.local_fin_ns {
        0 => close.head.ts_ns,
        at_ns => at_ns,
    }
}

fn attribution_of(conn: &Conn) -> Attribution {
    if !conn.owner.is_known() {
        return Attribution::None;
    }
    match conn.attribution {
        attribution::CONNECT => Attribution::Connect,
        attribution::ACCEPT => Attribution::Accept,
        attribution::IO => Attribution::Io,
        attribution::LISTENER => Attribution::Listener,
        attribution::SCAN => Attribution::Scan,
        attribution::SYSCALL => Attribution::Syscall,
        _ => Attribution::None,
    }
}

/// The process of this node that ended it first, if it is known.
fn closer<'a>(conn: &'a Conn, end: &End) -> Option<&'a Task> {
    let task = match end.closed_by {
        ClosedBy::Peer => &conn.peer_owner,
        ClosedBy::Local if conn.closer.is_known() => &conn.closer,
        _ => &conn.owner,
    };
    Some(task).filter(|task| task.is_known())
}

/// Whether the end that hung up is on this node, its process known or not.
fn closes_here(ids: &Ids, end: &End, found: Option<Found>) -> bool {
    // Who forgets a connection is between the ends.
    let forgotten = found.is_some_and(|found| found.pattern == Pattern::SilentDrop);
    (end.closed_by != ClosedBy::Peer && !forgotten)
        || ids.peer_pid.is_some()
        || ids.peer_conn.is_some()
        || ids.peer_addr.0.is_loopback()
        || ids.peer_addr == ids.local_addr
}

/// The two initial sequence numbers; the entry holds each + 1.
fn flow_id(conn: &Conn) -> Option<Hex16> {
    if conn.established_ns == 0 || conn.has(flag::UNTRACKED) {
        return None;
    }
    let (a, b) = (conn.iss.wrapping_sub(1), conn.irs.wrapping_sub(1));
    Some(Hex16(u64::from(a.min(b)) << 32 | u64::from(a.max(b))))
}

/// Which payload came last.
pub fn last_data(role: Role, idle: &Idle) -> LastData {
    match (idle.rx_ms, idle.tx_ms) {
        (None, None) => LastData::None,
        (Some(_), None) => LastData::Rx,
        (None, Some(_)) => LastData::Tx,
        (Some(rx), Some(tx)) if rx < tx => LastData::Rx,
        (Some(rx), Some(tx)) if rx > tx => LastData::Tx,
        // Within one tick a request counts as answered.
        _ if role == Role::Client => LastData::Rx,
        _ => LastData::Tx,
    }
}
