//! Which events are written. It decides nothing else: what is known of a written event does not
//! depend on it.

use std::{fmt::Display, net::IpAddr};

use ipnet::IpNet;

use super::clean::is_clean;
use crate::event::{
    Body, Event, Ids,
    values::{Kind, Reason},
};

/// Among hints: there is none; among containers: outside of all.
pub const NONE: &str = "-";

/// Conditions of which all have to hold. Each is a list of alternatives, and an empty list holds
/// always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Kinds of `tcp_*` events.
    pub events: Vec<Kind>,
    /// Leaves out clean closes.
    pub abnormal: bool,
    /// Owner, in the initial pid namespace.
    pub pids: Vec<u32>,
    /// Owner's name, as the events show it.
    pub comms: Vec<String>,
    /// Port of either end.
    pub ports: Vec<u16>,
    pub local_ports: Vec<u16>,
    /// Networks of the peer, a single address being a network of one.
    pub peers: Vec<IpNet>,
    /// Names of containers, or first digits of their ids.
    pub containers: Vec<String>,
    pub units: Vec<String>,
    /// Timeouts that fit an end.
    pub hints: Vec<String>,
    /// Reasons of an end, and of the culprit of an I/O error. A reset has none.
    pub reasons: Vec<Reason>,
}

impl Filter {
    /// Whether the event is to be written. The tool's own lines always are.
    pub fn matches(&self, event: &Event) -> bool {
        let Some(ids) = event.ids() else { return true };
        any(&self.events, |kind| *kind == event.head.event)
            && self.matches_owner(ids)
            && self.matches_addresses(ids)
            && any(&self.hints, |hint| has_hint(event, hint))
            && any(&self.reasons, |reason| reason_of(event) == Some(*reason))
            && !(self.abnormal && is_clean_close(event))
    }

    fn matches_owner(&self, ids: &Ids) -> bool {
        let comm = |name: &String| ids.comm.is_some_and(|comm| comm.text() == *name);
        let container = |wanted: &String| {
            let id = ids.container_id.as_ref();
            let name = ids.called.container_name.0.as_ref();
            id.is_some_and(|id| is_id(id.as_str(), wanted))
                || (wanted == NONE && id.is_none())
                || name.is_some_and(|name| name.as_str() == wanted)
        };
        let unit = |unit: &String| ids.unit.as_ref().is_some_and(|own| own.as_str() == unit);
        any(&self.pids, |pid| ids.pid == Some(*pid))
            && any(&self.comms, comm)
            && any(&self.containers, container)
            && any(&self.units, unit)
    }

    fn matches_addresses(&self, ids: &Ids) -> bool {
        let peer = IpAddr::to_canonical(&ids.peer_addr.0);
        any(&self.ports, |port| {
            [ids.local_port, ids.peer_port].contains(port)
        }) && any(&self.local_ports, |port| *port == ids.local_port)
            && any(&self.peers, |net| net.contains(&peer))
    }

    /// The conditions as options of the command line; nothing when everything is written.
    pub fn describe(&self) -> Vec<String> {
        let mut options = Vec::new();
        if self.abnormal {
            options.push("--abnormal".to_owned());
        }
        option(&mut options, "--events", &self.events);
        option(&mut options, "--pid", &self.pids);
        option(&mut options, "--comm", &self.comms);
        option(&mut options, "--port", &self.ports);
        option(&mut options, "--local-port", &self.local_ports);
        option(&mut options, "--peer", &self.peers);
        option(&mut options, "--container", &self.containers);
        option(&mut options, "--unit", &self.units);
        option(&mut options, "--hint", &self.hints);
        option(&mut options, "--reason", &self.reasons);
        options
    }
}

/// Fewer digits are a name.
const ID_MIN: usize = 6;

fn is_id(id: &str, start: &str) -> bool {
    let own = id.get(..start.len());
    start.len() >= ID_MIN && own.is_some_and(|own| own.eq_ignore_ascii_case(start))
}

fn any<T>(alternatives: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    alternatives.is_empty() || alternatives.iter().any(holds)
}

fn has_hint(event: &Event, wanted: &str) -> bool {
    match &event.body {
        Body::End { end, .. } if wanted == NONE => end.hints.0.is_empty(),
        Body::End { end, .. } => end.hints.0.iter().any(|hint| hint.as_str() == wanted),
        _ => false,
    }
}

fn reason_of(event: &Event) -> Option<Reason> {
    match &event.body {
        Body::End { end, .. } => Some(end.reason),
        Body::IoError { io, .. } => io.reason,
        _ => None,
    }
}

fn is_clean_close(event: &Event) -> bool {
    match &event.body {
        Body::End { ids, end } => event.head.event == Kind::TcpClose && is_clean(ids, end),
        _ => false,
    }
}

fn option<T: Display>(options: &mut Vec<String>, name: &str, values: &[T]) {
    if !values.is_empty() {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        options.push(format!("{name} {}", values.join(",")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::sample,
        event::{Lost, text::Label, values::*},
    };

    fn close(change: impl FnOnce(&mut Ids)) -> Event {
        let mut ids = sample::ids();
        change(&mut ids);
        sample::close(ids, sample::end())
    }

    fn plain() -> Event {
        close(|_| ())
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    #[test]
    fn an_empty_filter_passes_everything_and_describes_nothing() {
        let filter = Filter::default();
        for event in [
            plain(),
            sample::connect_failed(sample::ids(), sample::end()),
            sample::reset(sample::ids()),
            sample::io_error(sample::ids(), None),
        ] {
            assert!(filter.matches(&event));
        }
        assert_eq!(filter.describe(), [""; 0]);
    }

    #[test]
    fn the_tools_own_lines_always_pass() {
        let filter = Filter {
            events: vec![Kind::TcpReset],
            abnormal: true,
            pids: vec![1],
            reasons: vec![Reason::Oom],
            ..Filter::default()
        };
        let lost = Event {
            head: sample::head(Kind::Lost),
            body: Body::Lost(Lost {
                count: 1,
                r#where: Where::Ring,
                kinds: Counts::default(),
            }),
        };
        assert!(filter.matches(&lost));
        assert!(!filter.matches(&plain()));
    }

    #[test]
    fn events() {
        let filter = Filter {
            events: vec![Kind::TcpClose, Kind::TcpIoError],
            ..Filter::default()
        };
        assert!(filter.matches(&plain()));
        assert!(filter.matches(&sample::io_error(sample::ids(), None)));
        assert!(!filter.matches(&sample::connect_failed(sample::ids(), sample::end())));
        assert!(!filter.matches(&sample::reset(sample::ids())));
    }

    #[test]
    fn abnormal_leaves_out_clean_closes_only() {
        let filter = Filter {
            abnormal: true,
            ..Filter::default()
        };
        assert!(!filter.matches(&plain()));
        let mut unread = sample::end();
        unread.rx_unread_bytes = Some(1);
        assert!(filter.matches(&sample::close(sample::ids(), unread)));
        assert!(filter.matches(&sample::connect_failed(sample::ids(), sample::end())));
        assert!(filter.matches(&sample::reset(sample::ids())));
        assert!(filter.matches(&sample::io_error(sample::ids(), None)));
    }

    #[test]
    fn pid() {
        let filter = Filter {
            pids: vec![1, 790],
            ..Filter::default()
        };
        assert!(filter.matches(&plain()));
        assert!(!filter.matches(&close(|ids| ids.pid = Some(791))));
        assert!(!filter.matches(&close(|ids| ids.pid = None)));
    }

    #[test]
    fn comm_is_the_owners_whole_name() {
        let filter = Filter {
            comms: vec!["nginx".into(), "go-server".into(), "a\u{fffd}b".into()],
            ..Filter::default()
        };
        assert!(filter.matches(&plain()));
        for (comm, passes) in [
            (&b"go-server2"[..], false),
            (b"go", false),
            (b"Nginx", false),
            (b"nginx", true),
            (b"a\xffb", true),
        ] {
            let event = close(|ids| ids.comm = Some(sample::comm(comm)));
            assert_eq!(filter.matches(&event), passes, "{comm:?}");
        }
        assert!(!filter.matches(&close(|ids| ids.comm = None)));
        assert!(!filter.matches(&close(|ids| {
            ids.closer_comm = ids.comm.take();
        })));
    }

    #[test]
    fn port_is_either_end_and_local_port_this_one() {
        let ports = |ports: &[u16]| Filter {
            ports: ports.to_vec(),
            ..Filter::default()
        };
        assert!(ports(&[8080]).matches(&plain()));
        assert!(ports(&[1, 48122]).matches(&plain()));
        assert!(!ports(&[80]).matches(&plain()));
        let local = |port| Filter {
            local_ports: vec![port],
            ..Filter::default()
        };
        assert!(local(8080).matches(&plain()));
        assert!(!local(48122).matches(&plain()));
    }

    #[test]
    fn peer_is_in_a_network() {
        let peers = |text: &str| Filter {
            peers: vec![net(text)],
            ..Filter::default()
        };
        for (network, passes) in [
            ("10.2.0.7/32", true),
            ("10.2.0.0/16", true),
            ("10.2.0.9/16", true),
            ("0.0.0.0/0", true),
            ("10.1.0.0/16", false),
            ("::/0", false),
        ] {
            assert_eq!(peers(network).matches(&plain()), passes, "{network}");
        }
        let v6 = close(|ids| ids.peer_addr = sample::addr("2001:db8::7"));
        assert!(peers("2001:db8::/32").matches(&v6));
        assert!(!peers("2001:db9::/32").matches(&v6));
        assert!(!peers("0.0.0.0/0").matches(&v6));
        let mapped = close(|ids| ids.peer_addr = sample::addr("::ffff:10.2.0.7"));
        assert!(peers("10.0.0.0/8").matches(&mapped));
    }

    #[test]
    fn container_by_its_first_digits_or_its_name() {
        let filter = Filter {
            containers: vec!["c74b0f".into()],
            ..Filter::default()
        };
        let id = |text: &str| {
            let label = Label::from(text);
            close(|ids| ids.container_id = Some(label))
        };
        assert!(filter.matches(&id("c74b0f5062f0bc72")));
        assert!(!filter.matches(&id("5062f0c74b0f")));
        assert!(!filter.matches(&plain()));
        let filter = Filter {
            containers: vec!["C74B0F".into(), "web".into(), "c74b".into()],
            ..Filter::default()
        };
        let named = |text: &str| {
            let label = Label::from(text);
            close(|ids| ids.called.container_name = Some(label).into())
        };
        assert!(filter.matches(&id("c74b0f5062f0bc72")));
        assert!(!filter.matches(&id("c74bff5062f0bc72")), "too few digits");
        assert!(filter.matches(&named("web")));
        assert!(!filter.matches(&named("web-1")));
        let outside = Filter {
            containers: vec![NONE.into()],
            ..Filter::default()
        };
        assert!(outside.matches(&plain()) && !outside.matches(&id("c74b0f5062f0bc72")));
    }

    #[test]
    fn a_hint_is_one_of_those_that_fit() {
        let filter = |hint: &str| Filter {
            hints: vec![hint.into()],
            ..Filter::default()
        };
        let mut end = sample::end();
        assert!(filter(NONE).matches(&sample::close(sample::ids(), end.clone())));
        end.hints = List(vec![Label::from("a.b"), Label::from("c")]);
        let event = sample::close(sample::ids(), end);
        assert!(filter("c").matches(&event) && filter("a.b").matches(&event));
        assert!(!filter("a").matches(&event) && !filter(NONE).matches(&event));
        assert!(!filter("c").matches(&sample::reset(sample::ids())));
    }

    #[test]
    fn unit_is_exact() {
        let filter = Filter {
            units: vec!["nginx.service".into()],
            ..Filter::default()
        };
        let unit = |text: &str| {
            let label = Label::from(text);
            close(|ids| ids.unit = Some(label))
        };
        assert!(filter.matches(&unit("nginx.service")));
        assert!(!filter.matches(&unit("nginx.service.d")));
        assert!(!filter.matches(&plain()));
    }

    #[test]
    fn reason_of_an_end_or_of_an_errors_culprit() {
        let filter = Filter {
            reasons: vec![Reason::FinPeer, Reason::FinPeerRst],
            ..Filter::default()
        };
        assert!(filter.matches(&plain()));
        let mut end = sample::end();
        end.reason = Reason::RstPeer;
        assert!(!filter.matches(&sample::close(sample::ids(), end)));
        assert!(!filter.matches(&sample::reset(sample::ids())));
        let io = |reason| sample::io_error(sample::ids(), reason);
        assert!(filter.matches(&io(Some(Reason::FinPeerRst))));
        assert!(!filter.matches(&io(Some(Reason::RstPeer))));
        assert!(!filter.matches(&io(None)));
    }

    #[test]
    fn different_conditions_have_to_hold_together() {
        let filter = Filter {
            pids: vec![790],
            ports: vec![80],
            ..Filter::default()
        };
        assert!(!filter.matches(&plain()));
        assert!(filter.matches(&close(|ids| ids.local_port = 80)));
        assert!(!filter.matches(&close(|ids| {
            ids.local_port = 80;
            ids.pid = Some(1);
        })));
    }

    #[test]
    fn it_describes_itself_as_options() {
        let filter = Filter {
            events: vec![Kind::TcpClose],
            abnormal: true,
            pids: vec![1, 2],
            comms: vec!["nginx".into()],
            ports: vec![80, 443],
            local_ports: vec![8080],
            peers: vec![net("10.0.0.0/8"), net("::1/128")],
            containers: vec!["c74b0f".into()],
            units: vec!["nginx.service".into()],
            hints: vec!["go.http.idle".into()],
            reasons: vec![Reason::RstPeer, Reason::Oom],
        };
        assert_eq!(
            filter.describe(),
            [
                "--abnormal",
                "--events tcp_close",
                "--pid 1,2",
                "--comm nginx",
                "--port 80,443",
                "--local-port 8080",
                "--peer 10.0.0.0/8,::1/128",
                "--container c74b0f",
                "--unit nginx.service",
                "--hint go.http.idle",
                "--reason rst_peer,oom",
            ]
        );
    }
}
