//! Every row of the table of terminations, provoked 23 times on each link, and one record per end demanded.

use std::thread;

use crate::{
    Test,
    endings::{self, Ending},
    lab::{
        expect::{End, judge},
        link::{LINKS, Link, Net},
        needs::Need,
        panic_text,
        tracer::Tracer,
    },
};

/// Not a round number, so that no batch size or limit fits by accident.
pub const TIMES: usize = 23;

pub fn tests() -> Vec<Test> {
    endings::all()
        .into_iter()
        .map(|row| {
            Test::new(format!("rows::{}", row.name), row.needs, move || {
                provoke(&row);
            })
        })
        .collect()
}

/// One way to end a connection.
pub struct Row {
    pub name: &'static str,
    pub needs: &'static [Need],
    pub links: &'static [Link],
    pub ending: Ending,
}

impl Row {
    pub const fn new(name: &'static str, ending: Ending) -> Row {
        Row {
            name,
            needs: &[Need::Program("ip")],
            links: &LINKS,
            ending,
        }
    }

    /// For endings that a firewall brings about.
    pub const fn with_nft(name: &'static str, ending: Ending) -> Row {
        let mut row = Row::new(name, ending);
        row.needs = &[Need::Program("ip"), Need::Program("nft")];
        row
    }

    pub const fn needs(mut self, needs: &'static [Need]) -> Row {
        self.needs = needs;
        self
    }

    pub const fn links(mut self, links: &'static [Link]) -> Row {
        self.links = links;
        self
    }
}

/// The links run at the same time: their timers then expire together, and the tracer has more to tell apart.
fn provoke(row: &Row) {
    let tracer = without_tracer()
        .then_some(())
        .map_or_else(|| Some(Tracer::start()), |()| None);
    let labs = on_links(&chosen(row.links), |link| {
        let net = Net::new(link);
        let ends = (row.ending)(&net, TIMES);
        net.wait_until_gone();
        (net, ends)
    });
    let left: Vec<String> = labs
        .iter()
        .flat_map(|(net, _)| net.full_sockets())
        .collect();
    assert!(left.is_empty(), "sockets left that were gone: {left:#?}");
    let Some(tracer) = tracer else { return };
    let recording = tracer.finish();
    let namespaces: Vec<u64> = labs.iter().flat_map(|(net, _)| net.inodes()).collect();
    let ends: Vec<End> = labs.iter().flat_map(|(_, ends)| ends.clone()).collect();
    judge(&recording, &namespaces, &ends);
}

/// With LIVE_WITHOUT_TRACER the endings only happen: for work on the lab.
fn without_tracer() -> bool {
    std::env::var_os("LIVE_WITHOUT_TRACER").is_some()
}

/// With LIVE_LINKS=lo_v4,veth_v6 only those: for work on the lab.
fn chosen(links: &[Link]) -> Vec<Link> {
    let wanted = std::env::var("LIVE_LINKS").ok();
    links
        .iter()
        .copied()
        .filter(|link| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.split(',').any(|name| name == link.name()))
        })
        .collect()
}

/// Runs `body` for every link at once; a panic in one fails the test under the link's name. A single processor takes
/// them in turn: with all of their ends in one moment it would be late for those that a process has to see in time.
pub fn on_links<T: Send>(links: &[Link], body: impl Fn(Link) -> T + Sync) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, Into::into);
    let at_once = if processors == 1 {
        1
    } else {
        links.len().max(1)
    };
    links
        .chunks(at_once)
        .flat_map(|links| together(links, &body))
        .collect()
}

fn together<T: Send>(links: &[Link], body: &(impl Fn(Link) -> T + Sync)) -> Vec<T> {
    thread::scope(|scope| {
        let threads: Vec<_> = links
            .iter()
            .map(|&link| (link, scope.spawn(move || body(link))))
            .collect();
        threads
            .into_iter()
            .map(|(link, thread)| match thread.join() {
                Ok(value) => value,
                Err(panic) => panic!("on {}: {}", link.name(), panic_text(&*panic)),
            })
            .collect()
    })
}
