//! A line is never longer than its readers take: what goes first, and what stays.

use super::{
    Body, End, Event, Ids, Keys, MAX_LINE_BYTES, Shortened,
    text::Label,
    values::{Counts, List},
};

/// What is left of an event, each step with less; docs/output.md says the same.
#[derive(Clone, Copy)]
struct Step {
    timeline: bool,
    chain: bool,
    /// Names, paths and errors: bytes of each.
    name: usize,
    /// Stories and filters: bytes of each.
    story: usize,
    /// Entries of lists and counts.
    entries: usize,
}

const ALL: usize = usize::MAX;

const STEPS: [Step; 7] = [
    Step::of(true, ALL, ALL, ALL),
    Step::of(false, ALL, ALL, ALL),
    Step::of(false, 128, ALL, ALL),
    Step::of(false, 128, 512, ALL),
    Step::of(false, 64, 256, 32),
    Step::of(false, 16, 64, 8),
    // Whatever the texts were: control characters take six bytes each.
    Step::of(false, 0, 0, 0),
];

impl Step {
    const fn of(chain: bool, name: usize, story: usize, entries: usize) -> Self {
        Step {
            timeline: false,
            chain,
            name,
            story,
            entries,
        }
    }
}

impl Event {
    /// Appends the same event within the limit, marked as truncated.
    pub(super) fn write_shortened(&self, out: &mut Vec<u8>) {
        let mut event = self.clone();
        let start = out.len();
        for step in STEPS {
            event.shorten(step);
            out.truncate(start);
            event.write_object(out);
            if !matches!(event.body, Body::End { .. }) {
                let truncated = Some(true).into();
                out.truncate(out.len() - 1);
                Shortened { truncated }.write(out);
                out.push(b'}');
            }
            if out.len() - start <= MAX_LINE_BYTES {
                break;
            }
        }
    }

    fn shorten(&mut self, step: Step) {
        let head = &mut self.head;
        for id in [&mut head.run_id, &mut head.node, &mut head.boot_id] {
            // A node's name and the ids join a line with others, and are never much.
            id.cut(step.name.max(64));
        }
        if let Some(ids) = self.body.ids_mut() {
            ids.shorten(step);
        }
        match &mut self.body {
            Body::End { end, .. } => end.shorten(step),
            Body::Reset { reset, .. } => cut(&mut reset.rst_reason, step.name),
            Body::IoError { io, .. } => cut(&mut io.story, step.story),
            Body::Stall { stall, .. } => cut(&mut stall.story, step.story),
            Body::Start(start) => {
                start.version.cut(step.name);
                start.kernel.cut(step.name);
                start.hooks.0.truncate(step.entries);
                for hook in &mut start.hooks.0 {
                    hook.signal.cut(step.name);
                    hook.hook.cut(step.name);
                    cut(&mut hook.error, step.name);
                    cut(&mut hook.instead_of, step.name);
                }
                cut_each(&mut start.blind, step.name, step.entries);
                cut_each(&mut start.filters, step.story, step.entries);
            }
            Body::Lost(lost) => cut_names(&mut lost.kinds, step),
            Body::Heartbeat(heartbeat) => {
                cut_names(&mut heartbeat.written, step);
                if let Some(attached) = &mut heartbeat.attached.0 {
                    cut_each(attached, step.name, step.entries);
                }
            }
            Body::Stop(stop) => {
                for counts in [&mut stop.written, &mut stop.reasons, &mut stop.lost_kinds] {
                    cut_names(counts, step);
                }
                stop.clusters.0.truncate(step.entries);
                for cluster in &mut stop.clusters.0 {
                    cut(&mut cluster.process, step.name);
                    cluster.peer.cut(step.name);
                }
            }
        }
    }
}

impl Ids {
    fn shorten(&mut self, step: Step) {
        let called = &mut self.called;
        for text in [
            &mut self.exe,
            &mut self.cgroup,
            &mut self.container_id,
            &mut self.runtime,
            &mut self.pod_uid,
            &mut self.unit,
            &mut self.peer_container_id,
            &mut called.container_name.0,
            &mut called.pod.0,
            &mut called.pod_namespace.0,
        ] {
            cut(text, step.name);
        }
    }
}

impl End {
    fn shorten(&mut self, step: Step) {
        self.truncated = true;
        if !step.timeline {
            self.timeline = None;
        }
        if !step.chain {
            self.chain = None;
        }
        cut(&mut self.rst_reason, step.name);
        cut_each(&mut self.hints, step.name, step.entries);
        cut(&mut self.story, step.story);
    }
}

fn cut(text: &mut Option<Label>, limit: usize) {
    if let Some(label) = text {
        label.cut(limit);
    }
}

fn cut_each(texts: &mut List<Label>, limit: usize, entries: usize) {
    texts.0.truncate(entries);
    for text in &mut texts.0 {
        text.cut(limit);
    }
}

/// Names that this version does not know may come from a recording.
fn cut_names(counts: &mut Counts, step: Step) {
    counts.0.truncate(step.entries);
    counts.0.retain(|(name, _)| name.len() <= step.name);
}

#[cfg(test)]
mod tests;
