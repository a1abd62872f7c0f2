use super::*;
use crate::{
    core::{
        pattern,
        sample::{self, comm},
        timeouts::{BUILT_IN, Sysctls},
    },
    event::values::LastData,
};

fn table() -> Table {
    BUILT_IN.clone().with_node(&Sysctls::default())
}

/// An answered request, and then nothing for long.
fn end(role: Role, closed_by: ClosedBy, rx: Option<u64>, tx: Option<u64>) -> (Ids, End) {
    let (mut ids, mut end) = (sample::ids(), sample::end());
    ids.role = role;
    end.closed_by = closed_by;
    end.reason = match closed_by {
        ClosedBy::Peer => Reason::FinPeer,
        _ => Reason::FinLocal,
    };
    (end.idle_rx_ms, end.idle_tx_ms) = (rx, tx);
    end.last_data = match (rx, tx) {
        (None, None) => LastData::None,
        (Some(rx), Some(tx)) if rx < tx => LastData::Rx,
        (Some(_), None) => LastData::Rx,
        _ => LastData::Tx,
    };
    end.end_age_ms = rx.max(tx).map(|ms| ms + 3);
    (ids, end)
}

fn hints_of(ids: &Ids, end: &End, closing: Closing<'_>, table: &Table) -> Option<Hints> {
    let found = pattern::pattern(&tracer_common::conn::Conn::ZERO, ids, end, None);
    let view = View {
        ids,
        end,
        closing,
        user_timeout_ms: 0,
    };
    assert!(
        may_fit(table, found, end) || view.hints(table, found).is_none(),
        "{found:?}"
    );
    view.hints(table, found)
        .or_else(|| view.age_limit(table, found))
}

fn here(name: &str) -> Closing<'_> {
    Closing::Here {
        comm: Some(name),
        exe: None,
    }
}

fn ids_of(hints: &Option<Hints>) -> Vec<&str> {
    let hints = hints.iter().flat_map(|hints| &hints.ids);
    hints.map(Label::as_str).collect()
}

/// The server's end of a request that was not answered for so long.
fn unanswered(ms: u64) -> (Ids, End) {
    end(Role::Server, ClosedBy::Peer, Some(ms), None)
}

#[test]
fn a_proxy_of_this_node_is_named_alone() {
    let (ids, end) = unanswered(60_004);
    let found = hints_of(&ids, &end, here("nginx"), &table());
    let ids_found = ids_of(&found);
    assert!(
        ids_found.contains(&"nginx.proxy_read_timeout"),
        "{ids_found:?}"
    );
    assert!(
        ids_found
            .iter()
            .all(|id| id.starts_with("nginx.") || id.starts_with("kong.")),
        "{ids_found:?}"
    );
    assert!(found.is_some_and(|found| found.certain && found.value_ms == 60_000));
    // By its executable too, whatever it calls itself.
    let closing = Closing::Here {
        comm: Some("lb"),
        exe: Some("/usr/sbin/haproxy"),
    };
    let (ids, end) = unanswered(50_010);
    let found = hints_of(&ids, &end, closing, &table());
    assert_eq!(ids_of(&found), ["haproxy.timeout_server"]);
}

#[test]
fn from_elsewhere_all_that_share_the_value_are_named() {
    let (ids, end) = unanswered(60_004);
    let found = hints_of(&ids, &end, Closing::Elsewhere, &table()).expect("hints");
    assert!(!found.certain && found.ids.len() == HINTS_MAX && found.all > HINTS_MAX);
    assert_eq!(found.value_ms, 60_000);
    let named: Vec<_> = found.ids.iter().map(Label::as_str).collect();
    assert_eq!(named[0], "nginx.proxy_read_timeout", "the common one");
    assert!(named.contains(&"kong.read_timeout"), "{named:?}");
    let (ids, end) = unanswered(30_100);
    let found = hints_of(&ids, &end, Closing::Elsewhere, &table());
    assert!(
        ids_of(&found).contains(&"gcp.lb.backend_timeout"),
        "{found:?}"
    );
}

#[test]
fn a_process_that_is_not_the_product_is_not_named_so() {
    let idle = end(Role::Client, ClosedBy::Peer, Some(5_003), Some(5_010));
    for (name, expected) in [
        ("apache2", vec!["apache.KeepAliveTimeout"]),
        ("node", vec!["node.keepAliveTimeout"]),
        ("uvicorn", vec!["uvicorn.timeout_keep_alive"]),
        ("python3.11", vec!["uvicorn.timeout_keep_alive"]),
        ("myapp", vec![]),
        ("postgres", vec![]),
    ] {
        let found = hints_of(&idle.0, &idle.1, here(name), &table());
        assert_eq!(ids_of(&found), expected, "{name}");
        // Python may be many things.
        if let Some(found) = found {
            assert_eq!(found.certain, name != "python3.11", "{name}");
        }
    }
    let nobody = Closing::Here {
        comm: None,
        exe: None,
    };
    assert_eq!(hints_of(&idle.0, &idle.1, nobody, &table()), None);
    // A load balancer of a cloud is not on this node.
    let (ids, end) = unanswered(30_100);
    assert_eq!(hints_of(&ids, &end, here("myapp"), &table()), None);
}

#[test]
fn the_side_that_hung_up_counts() {
    // nginx as a client keeps upstreams for 60 s, as a server keeps clients for 75 s.
    for (role, closed_by, ms, id) in [
        (
            Role::Server,
            ClosedBy::Local,
            75_002,
            "nginx.keepalive_timeout",
        ),
        (
            Role::Client,
            ClosedBy::Peer,
            75_002,
            "nginx.keepalive_timeout",
        ),
        (
            Role::Client,
            ClosedBy::Local,
            60_002,
            "nginx.upstream_keepalive_timeout",
        ),
        (
            Role::Server,
            ClosedBy::Peer,
            60_002,
            "nginx.upstream_keepalive_timeout",
        ),
    ] {
        let (ids, end) = end(role, closed_by, Some(ms), Some(ms));
        let found = hints_of(&ids, &end, here("nginx"), &table());
        assert!(
            ids_of(&found).contains(&id),
            "{role} {closed_by}: {found:?}"
        );
    }
    let (ids, end) = end(Role::Client, ClosedBy::Local, Some(75_002), Some(75_002));
    assert_eq!(hints_of(&ids, &end, here("nginx"), &table()), None);
}

#[test]
fn clocks_are_held_to_what_timers_do() {
    for (ms, fits) in [
        (59_970, false),
        (59_984, true),
        (60_000, true),
        (60_060, true),
        (60_150, true),
        (60_170, false),
        (61_000, false),
    ] {
        let (ids, end) = unanswered(ms);
        let found = hints_of(&ids, &end, here("nginx"), &table());
        assert_eq!(found.is_some(), fits, "{ms}");
    }
    // Over a long way the ends see the last payload at different times.
    let (ids, mut end) = unanswered(89_900);
    let site = table()
        .with_site("[edge]\nvalue = \"90s\"\n")
        .expect("valid");
    assert_eq!(hints_of(&ids, &end, Closing::Elsewhere, &site), None);
    end.srtt_us = Some(180_000);
    let found = hints_of(&ids, &end, Closing::Elsewhere, &site);
    assert_eq!(ids_of(&found), ["edge"]);
}

#[test]
fn how_it_hung_up_counts() {
    let (ids, mut end) = unanswered(60_004);
    end.how = How::Rst;
    end.reason = Reason::RstPeer;
    let found = hints_of(&ids, &end, Closing::Elsewhere, &table());
    let found = ids_of(&found);
    assert!(found.contains(&"aws.alb.idle_timeout"), "{found:?}");
    assert!(!found.contains(&"nginx.proxy_read_timeout"), "{found:?}");
}

#[test]
fn a_forgotten_connection_was_idle_for_at_least_as_long() {
    let dropped = |idle_ms| {
        let (ids, mut end) = end(Role::Client, ClosedBy::Peer, Some(idle_ms), Some(40));
        (end.how, end.reason) = (How::Rst, Reason::RstPeer);
        hints_of(&ids, &end, Closing::Elsewhere, &table())
    };
    assert_eq!(dropped(200_000), None);
    assert_eq!(ids_of(&dropped(300_000)), ["azure.lb.tcp_idle"]);
    let found = dropped(400_000).expect("hints");
    assert_eq!(found.value_ms, 350_000);
    assert!(
        found.ids.iter().all(|id| id.as_str().starts_with("aws.")),
        "{found:?}"
    );
    assert!(
        found.ids[0].as_str() == "aws.nlb.tcp_idle",
        "verified first: {found:?}"
    );
    assert_eq!(dropped(800_000), None);
    // Where the box says nothing, the kernel's own patience comes after that.
    let (ids, mut end) = end(Role::Client, ClosedBy::Kernel, Some(1_224_600), Some(300));
    (end.how, end.reason) = (How::Timeout, Reason::TimeoutRetrans);
    let view = View {
        ids: &ids,
        end: &end,
        closing: Closing::Elsewhere,
        user_timeout_ms: 0,
    };
    let found = Found {
        pattern: Pattern::SilentDrop,
        clock_ms: Some(300_000),
    };
    let found = view.hints(&table(), Some(found));
    assert_eq!(ids_of(&found), ["azure.lb.tcp_idle"]);
}

#[test]
fn the_kernels_own_are_named_where_the_reason_says_so_and_the_clock_fits() {
    let of = |reason, change: fn(&mut Ids, &mut End)| {
        let (mut ids, mut end) = end(Role::Client, ClosedBy::Kernel, Some(0), Some(0));
        (end.reason, end.how) = (reason, How::Timeout);
        change(&mut ids, &mut end);
        let found = hints_of(&ids, &end, here("app"), &table());
        ids_of(&found).join(" ")
    };
    assert_eq!(
        of(Reason::TimeoutKeepalive, |_, end| {
            (end.idle_rx_ms, end.idle_tx_ms) = (Some(7_900_000), Some(8_000_000));
        }),
        "linux.tcp_keepalive"
    );
    assert_eq!(
        of(Reason::TimeoutKeepalive, |_, end| {
            (end.idle_rx_ms, end.idle_tx_ms) = (Some(152_000), Some(152_000));
        }),
        "go.net.keepalive"
    );
    assert_eq!(
        of(Reason::TimeoutKeepalive, |_, end| {
            (end.idle_rx_ms, end.idle_tx_ms) = (Some(4_000_000), Some(4_000_000));
        }),
        ""
    );
    assert_eq!(
        of(Reason::TimeoutRetrans, |_, end| end.idle_rx_ms =
            Some(944_000)),
        "linux.tcp_retries2"
    );
    assert_eq!(
        of(Reason::TimeoutRetrans, |_, end| end.idle_rx_ms =
            Some(15_000)),
        "",
        "TCP_USER_TIMEOUT of another namespace, or its sysctl"
    );
    assert_eq!(
        of(Reason::ConnectTimeout, |_, end| end.end_age_ms =
            Some(134_000)),
        "linux.tcp_syn_retries"
    );
}

#[test]
fn a_sockets_own_user_timeout_is_the_one() {
    let (ids, mut end) = end(Role::Client, ClosedBy::Kernel, Some(1_812), Some(1_744));
    (end.reason, end.how) = (Reason::TimeoutUser, How::Timeout);
    let of = |user_timeout_ms| {
        let view = View {
            ids: &ids,
            end: &end,
            closing: here("app"),
            user_timeout_ms,
        };
        view.hints(&table(), None)
    };
    let found = of(1_500);
    assert_eq!(ids_of(&found), ["linux.tcp_user_timeout"]);
    assert!(found.is_some_and(|found| found.value_ms == 1_500 && found.certain));
    assert_eq!(of(2_000), None, "it was set later");
    assert_eq!(of(0), None);
}

#[test]
fn a_connect_is_given_up_by_a_process() {
    let (mut ids, mut end) = end(Role::Client, ClosedBy::Local, None, None);
    (end.reason, end.how) = (Reason::ConnectCancelled, How::None);
    end.end_age_ms = Some(5_010);
    ids.comm = Some(comm(b"envoy"));
    let found = hints_of(&ids, &end, here("envoy"), &table());
    assert_eq!(ids_of(&found), ["envoy.connect_timeout"]);
    assert_eq!(hints_of(&ids, &end, here("app"), &table()), None);
}

#[test]
fn a_minute_of_work_that_is_answered_gives_no_hint() {
    for closed_by in [ClosedBy::Peer, ClosedBy::Local] {
        let (ids, mut end) = end(Role::Server, closed_by, Some(60_000), Some(4));
        end.end_age_ms = Some(60_010);
        let site = table().with_site("any = \"60s\"").expect("valid");
        for closing in [Closing::Elsewhere, here("nginx")] {
            assert_eq!(hints_of(&ids, &end, closing, &site), None);
        }
    }
}

#[test]
fn an_age_limit_is_one_where_nothing_else_explains_the_close() {
    let site = table()
        .with_site("[pool]\nvalue = \"10m\"\nclock = \"age\"\n")
        .expect("valid");
    let of = |idle_ms, age_ms| {
        let (ids, mut end) = end(
            Role::Client,
            ClosedBy::Local,
            Some(idle_ms),
            Some(idle_ms + 1),
        );
        end.end_age_ms = Some(age_ms);
        let found = hints_of(&ids, &end, here("app"), &site);
        ids_of(&found).join(" ")
    };
    assert_eq!(of(17_300, 600_010), "pool");
    assert_eq!(of(400, 600_010), "pool");
    assert_eq!(of(4, 600_010), "", "it closes because it has its answer");
    assert_eq!(of(17_300, 650_000), "");
}

#[test]
fn a_site_says_what_its_own_are() {
    let site = table().with_site("checkout-lb = \"45s\"").expect("valid");
    let (ids, end) = unanswered(45_010);
    for closing in [here("checkout"), Closing::Elsewhere] {
        let found = hints_of(&ids, &end, closing, &site).expect("a hint");
        assert_eq!(
            (found.ids[0].as_str(), found.certain),
            ("checkout-lb", true)
        );
    }
    let site = table()
        .with_site("[batch]\nvalue = \"45s\"\nprocess = \"batch-*\"\n")
        .expect("valid");
    let found = hints_of(&ids, &end, here("batch-7"), &site);
    assert_eq!(ids_of(&found), ["batch"]);
    assert_eq!(hints_of(&ids, &end, here("other"), &site), None);
}

/// Every kind of clock, from 1 ms to some hours, by a generator that gives the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn ms(&mut self) -> u64 {
        let scale = 10u64.pow(self.below(7) as u32 + 1);
        self.below(scale)
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many rounds for an interpreter")]
fn healthy_ends_of_unknown_processes_get_no_hint() {
    let table = table();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..10_000 {
        let role = [Role::Server, Role::Client, Role::Unknown][random.below(3) as usize];
        let closed_by = [ClosedBy::Local, ClosedBy::Peer][random.below(2) as usize];
        let (older, newer) = (random.ms(), random.below(900));
        let (older, newer) = (older.max(newer), older.min(newer));
        // The answer came last.
        let (rx, tx) = match role {
            Role::Client => (newer, older),
            _ => (older, newer),
        };
        let (ids, mut end) = end(role, closed_by, Some(rx), Some(tx));
        end.end_age_ms = Some(older + random.ms());
        for closing in [here("myapp"), here("batch-worker")] {
            assert_eq!(hints_of(&ids, &end, closing, &table), None, "{end:?}");
        }
        // From elsewhere neither, but for the age limits.
        if end.end_age_ms.is_some_and(|ms| ms < 3_000_000) {
            let found = hints_of(&ids, &end, Closing::Elsewhere, &table);
            assert_eq!(found, None, "{end:?}");
        }
        // Idle for as long as it likes, closed by a process that is no product.
        let (ids, end) = self::end(role, closed_by, Some(older), Some(older));
        assert_eq!(hints_of(&ids, &end, here("myapp"), &table), None, "{end:?}");
    }
}

#[test]
fn what_is_not_taken_has_timeouts_of_its_own() {
    let (ids, mut end) = end(Role::Server, ClosedBy::Local, Some(60_500), Some(60_004));
    let of = |end: &End| ids_of(&hints_of(&ids, end, here("nginx"), &table())).join(" ");
    assert_eq!(of(&end), "");
    end.tx_unsent_bytes = Some(1_000_000);
    assert_eq!(of(&end), "nginx.send_timeout");
}

#[test]
fn a_product_that_looks_now_and_then_has_to_be_known() {
    let idle = |ms| end(Role::Client, ClosedBy::Local, Some(ms), Some(ms));
    let (ids, end) = idle(15_003);
    let found = hints_of(&ids, &end, here("python3"), &table());
    assert_eq!(ids_of(&found), ["aiohttp.client_keepalive"]);
    let (ids, end) = idle(25_000);
    assert_eq!(hints_of(&ids, &end, here("python3"), &table()), None);
    let (ids, end) = self::end(Role::Client, ClosedBy::Peer, None, None);
    let mut end = End {
        end_age_ms: Some(80_000),
        ..end
    };
    (end.rx_bytes, end.tx_bytes) = (Some(0), Some(0));
    let found = hints_of(&ids, &end, here("node"), &table());
    assert_eq!(ids_of(&found), ["node.headersTimeout"]);
    assert_eq!(hints_of(&ids, &end, Closing::Elsewhere, &table()), None);
}

#[test]
#[cfg_attr(miri, ignore = "too many rounds for an interpreter")]
fn chance_rarely_fits_from_elsewhere() {
    let table = table();
    let mut random = Random(7);
    let mut fits = 0;
    for _ in 0..10_000 {
        let ms = 1_000 + random.below(120_000);
        let (ids, mut end) = end(Role::Server, ClosedBy::Peer, Some(ms), Some(ms));
        end.srtt_us = Some(30_000);
        fits += u64::from(hints_of(&ids, &end, Closing::Elsewhere, &table).is_some());
    }
    // Of two minutes, the windows of what clients and proxies close as idle make some 8 s.
    assert!(fits < 1_000, "{fits} of 10000");
}
