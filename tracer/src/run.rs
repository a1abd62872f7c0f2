//! A live run: attach, then read, join, write until it is time to stop.

use std::{net::TcpListener, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{
    cli::{Hooks, Settings, Stories},
    core::{
        assemble::{Assembler, Run},
        join::Joiner,
    },
    enrich::process::Processes,
    event::{
        Body, Heartbeat, Start, Stop,
        text::Label,
        values::{HookState, Kind, List, StopReason, Where},
    },
    kernel::{
        attach::{self, Attached, Sizes},
        btf::Btf,
        clock::{monotonic_ns, wall_offset_ns},
        facts::Facts,
        hooks::Family,
        layout::{Layout, VMLINUX},
        losses::{Losses, Reading},
        memory, priority, privilege,
        surroundings::Surroundings,
    },
    log,
    metrics::{
        server::{self, Ask},
        snapshot::{About, Own, Probe, Snapshot},
        tally::Tally,
    },
    panics,
    pipeline::Pipeline,
    service::Supervisor,
    sink::{LAST_LINES, Shape, Sink, view_options, writer::Writer},
    tui::{
        model::{Source, Status},
        session,
    },
};

/// After the first record of a burst, how long to let more come before they are read: one wake-up
/// for many.
const BATCH: Duration = Duration::from_millis(5);

/// The same where more than [`BUSY`] come in a second: every wake-up takes a CPU from those who make them.
const BUSY_BATCH: Duration = Duration::from_millis(25);

/// Records in a second.
const BUSY: f64 = 4_000.0;

/// Records read before what is due is written: what they become is still in a CPU's cache when it is.
const DRAIN: usize = 256;

/// Records read before signals and timers have their turn.
const ROUND_MAX: usize = 32 * DRAIN;

/// So much waits for the output in a flood only.
const FLOOD_BYTES: usize = 1 << 20;

/// A flood is over when there was none at so many looks.
const CALM: u32 = 4;

/// Clock, losses and the reader's presence are looked at this often.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// What was seen is written at the end, for at most this long, and what was not is counted in the last lines.
const FINISH: Duration = Duration::from_secs(4);

/// Between looks at what is left to write.
const NAP: Duration = Duration::from_millis(5);

/// For an output to drop what it is not to write any more.
const DROP: Duration = Duration::from_millis(100);

/// Traces until stopped.
pub fn run(settings: Settings, shape: Shape) -> Result<()> {
    let surroundings = Surroundings::look();
    surroundings.check()?;
    let facts = Facts::read()?;
    let writes_files = settings.output_file.is_some() || matches!(shape, Shape::View);
    privilege::decide(&facts.kernel, writes_files);
    let writer = match (shape, &settings.output_file) {
        (Shape::View, _) => None,
        (Shape::Lines(_), Some(path)) => Some(Writer::file(path)?),
        (Shape::Lines(_), None) => Some(Writer::stdout()?),
    };
    let listener = settings.metrics_listen.map(server::listen).transpose()?;

    // Signals that come while programs are being verified must not be lost.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    panics::caught(|| {
        runtime.block_on(async {
            let signals = Signals::new()?;
            let (layout, attached) = attach(&settings, facts.jiffy_ns, surroundings.may_probe)?;
            // Threads inherit the priority: this one is to have none.
            let metrics = listener
                .map(|listener| Metrics::serve(listener, &settings, &facts, &attached))
                .transpose()?;
            // The view's thread inherits it: a key is answered where everybody waits for a CPU.
            priority::raise();
            let sink = match writer {
                Some(writer) => Sink::Lines(writer),
                // Only now, so that what went wrong until here is said on a terminal as it was.
                None => {
                    let options = view_options(&settings.view, &settings.timeouts, Source::Live);
                    Sink::View(session::open(options, &settings.filter, |_| ())?)
                }
            };
            let blind = surroundings.blind();
            let mut tracing = Tracing::new(settings, shape, layout, facts, attached, blind, sink)?;
            tracing.count_for(metrics);
            // All is attached and found; threads have done so themselves.
            privilege::give_up();
            tracing.serve(signals).await
        })
    })
}

/// Reads the kernel's layout and attaches by it.
fn attach(settings: &Settings, jiffy_ns: u64, may_probe: bool) -> Result<(Layout, Attached)> {
    let bytes = std::fs::read(VMLINUX).with_context(|| format!("cannot read {VMLINUX}"))?;
    let btf = Btf::parse(&bytes).with_context(|| format!("cannot understand {VMLINUX}"))?;
    let mut layout = Layout::resolve(&btf, jiffy_ns)?;
    layout.filter(&settings.filter);
    layout.reads(may_probe);
    let sizes = Sizes {
        ring_bytes: settings.ring_bytes,
        max_connections: settings.max_connections,
    };
    let attached = attach::attach(&layout, &btf, sizes, family(settings.hooks))?;
    Ok((layout, attached))
}

/// What a signal asks for.
enum Told {
    End,
    Reopen,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Listened to for this alone: that a file which may grow no more is an error, and not the end.
    _file_limit: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            _file_limit: listen(SignalKind::from_raw(libc::SIGXFSZ))?,
        })
    }

    /// The next one.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End,
            _ = self.terminate.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reopen,
        }
    }
}

struct Tracing {
    attached: Attached,
    pipeline: Pipeline,
    sink: Sink,
    supervisor: Supervisor,
    losses: Losses,
    /// What they were read as last.
    reading: Reading,
    /// Rounds after which there was more to read.
    behind: u64,
    pace: Pace,
    /// Looks until a flood is over; 0: there was none.
    flooded: u32,
    metrics: Option<Metrics>,
    began_ns: u64,
    heartbeat: Duration,
    ends_at: Option<Instant>,
}

/// How long to let records come before they are read.
struct Pace {
    batch: Duration,
    /// When that was decided, and how many had come by then.
    since_ns: u64,
    records: u64,
}

impl Pace {
    fn new(now_ns: u64) -> Self {
        Pace {
            batch: BATCH,
            since_ns: now_ns,
            records: 0,
        }
    }

    /// By now so many have come.
    fn at(&mut self, now_ns: u64, records: u64) {
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(self.since_ns));
        if elapsed < BATCH {
            return;
        }
        let busy = (records - self.records) as f64 > BUSY * elapsed.as_secs_f64();
        *self = Pace {
            batch: if busy { BUSY_BATCH } else { BATCH },
            since_ns: now_ns,
            records,
        };
    }
}

/// Whoever wants the numbers, and what of them stays the same.
struct Metrics {
    asks: mpsc::Receiver<Ask>,
    about: Arc<About>,
    max_workloads: usize,
}

impl Metrics {
    fn serve(
        listener: TcpListener,
        settings: &Settings,
        facts: &Facts,
        attached: &Attached,
    ) -> Result<Self> {
        let began_ns = monotonic_ns().saturating_add_signed(wall_offset_ns());
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            kernel: facts.kernel.as_str().into(),
            probes: attached.hooks.iter().map(probe).collect(),
            ring_bytes: settings.ring_bytes,
            max_connections: settings.max_connections,
            began_ms: began_ns / 1_000_000,
        };
        Ok(Metrics {
            asks: server::start(listener)?,
            about: Arc::new(about),
            max_workloads: settings.metrics_max_workloads,
        })
    }
}

impl Tracing {
    fn new(
        settings: Settings,
        shape: Shape,
        layout: Layout,
        facts: Facts,
        attached: Attached,
        blind: Option<&'static str>,
        sink: Sink,
    ) -> Result<Self> {
        let began_ns = monotonic_ns();
        let run = Run {
            run_id: run_id(began_ns),
            node: facts.node.into(),
            boot_id: facts.boot_id.into(),
            jiffy_ns: facts.jiffy_ns,
            reasons: layout.rst_reasons.clone(),
            stories_for_all: settings.stories == Stories::All,
            sends_seen: attached.serves("write_error"),
            timeouts: settings.timeouts.clone().with_node(&facts.sysctls),
        };
        let start = Start {
            version: env!("CARGO_PKG_VERSION").into(),
            kernel: facts.kernel.into(),
            hooks: List(attached.hooks.iter().map(hook_state).collect()),
            blind: List(
                attached
                    .hooks
                    .iter()
                    .filter_map(|hook| hook.blind)
                    .chain(blind)
                    .map(Label::from)
                    .collect(),
            ),
            filters: List(
                settings
                    .filter
                    .describe()
                    .into_iter()
                    .map(Label::from)
                    .collect(),
            ),
        };
        for hook in &attached.hooks {
            if let (Some(error), Some(blind)) = (&hook.error, hook.blind) {
                tracing::warn!("{} is not attached ({error}): blind for {blind}", hook.hook);
            }
        }
        if let Some(blind) = blind {
            tracing::warn!("blind for {blind}");
        }
        let mut assembler = Assembler::new(run);
        assembler.wall_offset_ns = wall_offset_ns();
        let mut pipeline = Pipeline::new(
            Joiner::new(layout.rst_reasons),
            assembler,
            Processes::new(began_ns, &settings.host_proc),
            settings.filter,
            shape,
            settings.count,
        );
        let mut start = pipeline.own_event(Kind::Start, began_ns, Body::Start(start));
        pipeline.write(&mut start);
        let supervisor = Supervisor::from_env();
        supervisor.ready(&format!(
            "{} of {} hooks attached",
            attached.attached_hooks(),
            attached.hooks.len()
        ));
        Ok(Tracing {
            attached,
            pipeline,
            sink,
            supervisor,
            losses: Losses::default(),
            reading: Reading::default(),
            behind: 0,
            pace: Pace::new(began_ns),
            flooded: 0,
            metrics: None,
            began_ns,
            heartbeat: settings.heartbeat,
            ends_at: settings.duration.map(|duration| Instant::now() + duration),
        })
    }

    fn count_for(&mut self, metrics: Option<Metrics>) {
        self.pipeline.tally = metrics
            .as_ref()
            .map(|metrics| Tally::new(metrics.max_workloads));
        self.metrics = metrics;
    }

    async fn serve(mut self, mut signals: Signals) -> Result<()> {
        let ring = self.attached.readiness()?;
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeat = interval(self.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.tick().await;

        let why = loop {
            let more = self.round();
            if self.pipeline.done() {
                break StopReason::Count;
            }
            if more {
                // A full round: there is more to read, but signals and timers have their turn.
                tokio::task::yield_now().await;
            }
            let due = self.until_due();
            let ends_at = self.ends_at;
            let batch = self.pace.batch;
            tokio::select! {
                biased;
                told = signals.next() => match told {
                    Told::End => break StopReason::Signal,
                    // The terminal of a view that hangs up is gone.
                    Told::Reopen if self.sink.is_view() => break StopReason::Signal,
                    Told::Reopen => self.sink.reopen(),
                },
                () = at(ends_at) => break StopReason::Duration,
                _ = housekeeping.tick() => {
                    if self.sink.reader_gone() {
                        break StopReason::ReaderGone;
                    }
                    if panics::happened() {
                        break StopReason::Failure;
                    }
                    self.housekeep();
                }
                _ = heartbeat.tick() => self.heartbeat(),
                ask = asked(&mut self.metrics) => self.answer(ask),
                () = std::future::ready(()), if more => (),
                ready = ring.readable() => {
                    ready.context("cannot wait for the ring buffer")?.clear_ready();
                    sleep(batch).await;
                }
                () = after(due) => (),
            }
        };
        self.stop(why, signals).await
    }

    /// Reads, joins, writes. Returns whether there is more to read.
    fn round(&mut self) -> bool {
        let now_ns = monotonic_ns();
        for _ in 0..ROUND_MAX / DRAIN {
            if !self.drain() {
                self.pace.at(now_ns, self.pipeline.totals.records);
                self.expire(now_ns);
                return false;
            }
            // What explains an end is in the ring within its grace, so where there is more to read only what is
            // older than the newest record may go.
            self.expire(self.pipeline.newest_ns().min(now_ns));
        }
        self.behind += 1;
        self.flooded = CALM;
        true
    }

    /// Reads. Returns whether there is more.
    fn drain(&mut self) -> bool {
        for _ in 0..DRAIN {
            let Some(item) = self.attached.ring.next() else {
                return false;
            };
            self.pipeline.take(&item);
        }
        true
    }

    fn expire(&mut self, now_ns: u64) {
        let Tracing {
            attached,
            pipeline,
            sink,
            ..
        } = self;
        pipeline.expire(
            now_ns,
            |sk| attached.conns.get(sk),
            |pending| sink.room(pending),
        );
        if let Some(batch) = pipeline.take_batch() {
            sink.send(batch);
        }
    }

    /// Time until something is due.
    fn until_due(&self) -> Option<Duration> {
        let deadline_ns = self.pipeline.next_deadline_ns()?;
        let left_ns = deadline_ns.saturating_sub(monotonic_ns());
        // The timer's own step is a millisecond.
        Some(Duration::from_nanos(left_ns).max(Duration::from_millis(1)))
    }

    fn housekeep(&mut self) {
        self.supervisor.alive();
        self.pipeline.assembler.wall_offset_ns = wall_offset_ns();
        self.attached.flush_log();
        self.tell_losses();
        self.expire(0);
        self.shrink();
    }

    /// Gives back the memory that a flood has taken, once it is over.
    fn shrink(&mut self) {
        if self.sink.backlog_bytes().0 > FLOOD_BYTES {
            self.flooded = CALM;
        }
        if self.flooded > 0 {
            self.flooded -= 1;
            if self.flooded == 0 {
                self.pipeline.shrink();
                memory::give_back();
            }
        }
    }

    /// Says what was lost since it was last said.
    fn tell_losses(&mut self) {
        let mut read = self.losses.read(&self.attached);
        self.sink.status(Status {
            connections: read.connections,
            hooks_attached: self.attached.attached_hooks() as u64,
            hooks: self.attached.hooks.len() as u64,
        });
        self.losses
            .add(Where::Ring, &std::mem::take(&mut read.ring));
        self.losses.add(Where::Map, &std::mem::take(&mut read.map));
        self.reading = read;
        say_losses(&mut self.losses, &mut self.pipeline, &self.sink);
    }

    fn heartbeat(&mut self) {
        // Each reading has what came since the one before, so it must be told.
        self.tell_losses();
        let Reading {
            recovered,
            syn_recv_ended,
            connections,
            missed_runs,
            ..
        } = self.reading;
        let names = self.attached.hook_names();
        let body = Heartbeat {
            written: self.pipeline.totals.went_out(),
            lost: self.losses.total(),
            connections,
            hooks: self.attached.attached_hooks() as u64,
            recovered,
            missed_runs,
            syn_recv_ended,
            attached: Some(List(names.into_iter().map(Into::into).collect())).into(),
        };
        let mut event =
            self.pipeline
                .own_event(Kind::Heartbeat, monotonic_ns(), Body::Heartbeat(body));
        self.pipeline.write(&mut event);
        self.expire(0);
    }

    /// Hands out a copy of the numbers.
    fn answer(&self, ask: Ask) {
        let (Some(metrics), Some(tally)) = (&self.metrics, &self.pipeline.tally) else {
            return;
        };
        let totals = &self.pipeline.totals;
        let (queued, queue_max) = self.sink.backlog_bytes();
        let own = Own {
            written: totals.written.clone(),
            lost: self.losses.places(),
            records: totals.records,
            undecodable: totals.undecodable,
            ring_behind: self.behind,
            missed_runs: self.reading.missed_runs,
            recovered: self.reading.recovered,
            syn_recv_ended: self.reading.syn_recv_ended,
            connections: self.reading.connections,
            queued_bytes: queued as u64,
            queue_max_bytes: queue_max as u64,
        };
        // Who asked may have lost patience.
        let _ = ask.send(Snapshot {
            about: Arc::clone(&metrics.about),
            tally: tally.clone(),
            own,
        });
    }

    async fn stop(mut self, why: StopReason, mut signals: Signals) -> Result<()> {
        if why == StopReason::ReaderGone {
            drop(self.attached);
            return self.sink.finish(Duration::ZERO);
        }
        self.supervisor.stopping();
        // What was seen is told, also what was still waiting for more.
        while self.round() {}
        self.expire(u64::MAX);
        self.tell_losses();
        self.expire(0);
        let stopped_ns = monotonic_ns();
        // From here on nothing is traced: only the output is left to finish.
        let Tracing {
            attached,
            mut pipeline,
            sink,
            mut losses,
            reading,
            began_ns,
            ..
        } = self;
        drop(attached);
        tokio::select! {
            () = write_out(&sink) => (),
            () = ended_again(&mut signals) => leave(),
        }
        say_losses(&mut losses, &mut pipeline, &sink);
        let stop = Stop {
            why,
            duration_ms: (stopped_ns - began_ns) / 1_000_000,
            written: pipeline.totals.went_out(),
            reasons: pipeline.totals.reasons.clone(),
            lost: losses.total(),
            lost_kinds: losses.kinds().clone(),
            recovered: reading.recovered,
            missed_runs: reading.missed_runs,
            syn_recv_ended: reading.syn_recv_ended,
            clusters: List(pipeline.assembler.clusters()),
        };
        let mut event = pipeline.own_event(Kind::Stop, stopped_ns, Body::Stop(stop));
        pipeline.write(&mut event);
        if let Some(batch) = pipeline.take_batch() {
            sink.send(batch);
        }
        let finish = tokio::task::spawn_blocking(move || sink.finish(LAST_LINES));
        tokio::select! {
            finished = finish => finished.context("the output failed")??,
            () = ended_again(&mut signals) => (),
        }
        leave()
    }
}

/// A reader that takes nothing must not keep the process: the runtime would wait for the thread.
fn leave() -> ! {
    if panics::happened() {
        log::failure(format_args!("tracer: {}", panics::WORDS));
        std::process::exit(1);
    }
    std::process::exit(0);
}

/// Whoever asks twice wants it now.
async fn ended_again(signals: &mut Signals) {
    while !matches!(signals.next().await, Told::End) {}
}

/// Lets the output have what waits for it; what it does not take in time is lost.
async fn write_out(sink: &Sink) {
    idle(sink, FINISH).await;
    if sink.is_busy() {
        sink.hurry(true);
        idle(sink, DROP).await;
        sink.hurry(false);
    }
}

async fn idle(sink: &Sink, patience: Duration) {
    let until = Instant::now() + patience;
    while sink.is_busy() && Instant::now() < until {
        sleep(NAP).await;
    }
}

/// Says what was lost since it was last said.
fn say_losses(losses: &mut Losses, pipeline: &mut Pipeline, sink: &Sink) {
    let unwritten = sink.take_unwritten();
    for lost in &unwritten.unsaid {
        losses.say_again(lost);
    }
    pipeline.unwritten(&unwritten);
    let output = std::mem::take(&mut pipeline.totals.output_lost);
    losses.add(Where::Output, &output);
    pipeline.assembler.lost = losses.total();
    for lost in losses.take_unsaid() {
        let mut event = pipeline.own_event(Kind::Lost, monotonic_ns(), Body::Lost(lost));
        pipeline.write(&mut event);
    }
}

/// The next who wants the numbers.
async fn asked(metrics: &mut Option<Metrics>) -> Ask {
    if let Some(metrics) = metrics
        && let Some(ask) = metrics.asks.recv().await
    {
        return ask;
    }
    // Nobody can ask, or nobody will any more.
    std::future::pending().await
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn after(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// `None`: the best that the kernel has.
pub fn family(hooks: Hooks) -> Option<Family> {
    match hooks {
        Hooks::Auto => None,
        Hooks::TpBtf => Some(Family::TpBtf),
        Hooks::Fentry => Some(Family::Fentry),
        Hooks::Kprobe => Some(Family::Kprobe),
    }
}

fn hook_state(hook: &attach::HookStatus) -> HookState {
    HookState {
        signal: hook.signal.into(),
        hook: hook.hook.as_str().into(),
        error: hook.error.as_deref().map(Label::from),
        instead_of: hook.instead_of.as_deref().map(Label::from),
    }
}

fn probe(hook: &attach::HookStatus) -> Probe {
    Probe {
        signal: hook.signal,
        hook: hook.hook.clone(),
        attached: hook.error.is_none(),
    }
}

/// Eight hex digits that differ from run to run.
fn run_id(began_ns: u64) -> Label {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one((began_ns, std::process::id()));
    format!("{:08x}", random as u32).into()
}
