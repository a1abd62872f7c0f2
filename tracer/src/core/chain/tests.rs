use super::*;

const MS: u64 = 1_000_000;
const JIFFY_NS: u64 = 4 * MS;
const CURL: u32 = 100;
const HAPROXY: u32 = 200;
const NGINX: u32 = 300;
const GUNICORN: u32 = 400;

/// A socket of `tgid`, linked with `link`, joined with `peer`.
fn conn(cookie: u64, tgid: u32, flags: u32, link: u64, peer: u64) -> Conn {
    let owner = Task {
        tgid,
        tid: tgid,
        start_ns: 1,
        ..Task::NONE
    };
    Conn {
        cookie,
        flags: flags | flag::RX_BEFORE_FIN | flag::TX_BEFORE_FIN,
        owner,
        closer: owner,
        link_sk: link,
        link_cookie: link,
        link_tid: if link == 0 { 0 } else { tgid },
        peer_sk: peer,
        peer_cookie: peer,
        ..Conn::ZERO
    }
}

/// The server side of a proxy, its request not answered.
fn front(cookie: u64, tgid: u32, link: u64, peer: u64) -> Conn {
    Conn {
        idle_rx_jiffies: 250,
        idle_tx_jiffies: 1_000,
        ..conn(cookie, tgid, flag::PASSIVE, link, peer)
    }
}

/// The client side of a proxy, its request not answered.
fn back(cookie: u64, tgid: u32, link: u64, peer: u64) -> Conn {
    Conn {
        idle_rx_jiffies: 1_000,
        idle_tx_jiffies: 250,
        ..conn(cookie, tgid, flag::ACTIVE, link, peer)
    }
}

fn answered(conn: Conn) -> Conn {
    Conn {
        idle_rx_jiffies: 250,
        idle_tx_jiffies: 250,
        ..conn
    }
}

fn local_fin(at_ms: u64, conn: Conn) -> Conn {
    Conn {
        local_fin_ns: at_ms * MS,
        flags: conn.flags | flag::LOCAL_FIN,
        ..conn
    }
}

fn peer_fin(at_ms: u64, tells: bool, conn: Conn) -> Conn {
    let tells = if tells { flag::PEER_TELLS } else { 0 };
    Conn {
        peer_fin_ns: at_ms * MS,
        flags: conn.flags | flag::PEER_FIN | tells,
        ..conn
    }
}

fn hop(conn: &Conn) -> Hop {
    Hop::live(conn, JIFFY_NS, &Renames::default()).expect("an end")
}

/// The way to the end of `conns[0]`, the others being open.
fn way(conns: &[Conn]) -> Option<Way> {
    way_in(&mut Chains::default(), conns)
}

fn way_in(chains: &mut Chains, conns: &[Conn]) -> Option<Way> {
    chains.way(&hop(&conns[0]), &mut |socket| {
        let conn = conns.iter().find(|conn| conn.cookie == socket.cookie)?;
        Hop::live(conn, JIFFY_NS, &Renames::default())
    })
}

/// curl (1) – haproxy (2, 3) – nginx (4, 5) – gunicorn (6); curl hangs up at 1000 ms.
fn row_of_proxies() -> [Conn; 5] {
    [
        peer_fin(1_004, true, front(6, GUNICORN, 0, 5)),
        local_fin(1_003, back(5, NGINX, 4, 6)),
        peer_fin(1_002, true, front(4, NGINX, 5, 3)),
        local_fin(1_001, back(3, HAPROXY, 2, 4)),
        peer_fin(1_000, false, front(2, HAPROXY, 3, 1)),
    ]
}

#[test]
fn every_hop_of_a_row_of_proxies_names_the_same_root() {
    let row = row_of_proxies();
    for (index, cause) in [None, Some(4), None, Some(2), None].into_iter().enumerate() {
        let mut conns = row;
        conns.rotate_left(index);
        let way = way(&conns).expect("it is known");
        assert_eq!((way.root, way.cause), (1, cause), "{}", conns[0].cookie);
        assert!(way.abnormal);
    }
    let deeds = way(&row).expect("it is known").deeds;
    let pids: Vec<_> = deeds.iter().map(|deed| deed.as_str()).collect();
    assert_eq!(pids, ["unknown fin", "[200] fin", "[300] fin"]);
}

#[test]
fn a_way_outlives_the_ends_that_it_leads_through() {
    let row = row_of_proxies();
    let mut chains = Chains::default();
    chains.note(hop(&row[1]));
    way_in(&mut chains, &row[1..]).expect("it is known");
    // Of the others nothing is left.
    let late = way_in(&mut chains, &row[..1]).expect("it is remembered");
    assert_eq!((late.root, late.deeds.len()), (1, 3));
}

#[test]
fn a_timeout_of_a_proxy_is_its_own() {
    // haproxy gives up on its server, then answers its client with an error and closes.
    let upstream = local_fin(2_000, back(3, HAPROXY, 2, 4));
    let client = local_fin(2_001, answered(front(2, HAPROXY, 3, 1)));
    let of_upstream = way(&[upstream, client]).expect("it is known");
    assert_eq!((of_upstream.root, of_upstream.cause), (3, None));
    let of_client = way(&[client, upstream]).expect("it is known");
    assert_eq!((of_client.root, of_client.cause), (3, Some(3)));
}

#[test]
fn orderly_ends_are_no_chain() {
    // The upstream answered and closed, then the client was answered and closed.
    let upstream = peer_fin(1_000, false, answered(back(3, HAPROXY, 2, 4)));
    let client = local_fin(1_001, answered(front(2, HAPROXY, 3, 1)));
    let of_client = way(&[client, upstream]).expect("it is known");
    assert_eq!((of_client.root, of_client.cause), (2, None));
    assert!(!of_client.abnormal);
}

#[test]
fn an_upstream_that_had_answered_was_not_given_up() {
    // A handler that lets go of its database just after its client has left.
    let client = peer_fin(1_000, false, front(2, GUNICORN, 3, 1));
    let database = local_fin(1_020, answered(back(3, GUNICORN, 2, 4)));
    let of_database = way(&[database, client]).expect("it is known");
    assert_eq!((of_database.root, of_database.cause), (3, None));
}

#[test]
fn what_is_missing_from_the_evidence_breaks_the_chain() {
    let client = peer_fin(1_000, false, front(2, HAPROXY, 3, 1));
    let upstream = local_fin(1_001, back(3, HAPROXY, 2, 4));
    let cause = |upstream: Conn, client: Conn| way(&[upstream, client]).expect("it is known").cause;
    assert_eq!(cause(upstream, client), Some(2), "with all of it");

    let late = local_fin(1_251, upstream);
    assert_eq!(cause(late, client), None, "too late");
    let before = local_fin(999, upstream);
    assert_eq!(cause(before, client), None, "before its cause");
    let elsewhere = Conn {
        link_tid: 7,
        ..upstream
    };
    assert_eq!(cause(elsewhere, client), None, "another thread");
    let stranger = Conn {
        owner: Task {
            start_ns: 2,
            ..client.owner
        },
        ..client
    };
    assert_eq!(cause(upstream, stranger), None, "another process");
    let mut received = local_fin(1_040, upstream);
    received.idle_rx_jiffies = 1;
    received.idle_tx_jiffies = 0;
    assert_eq!(cause(received, client), None, "data came in between");
    let mut exits = upstream;
    exits.closer.flags = PF_EXITING;
    assert_eq!(cause(exits, client), None, "it exits");
}

#[test]
fn a_reload_is_no_chain_and_a_timeout_of_many_is() {
    for (spread_jiffies, is_reload) in [(100, true), (0, false)] {
        let mut chains = Chains::default();
        let pairs: Vec<_> = (0..20)
            .map(|n| {
                let (a, b) = (100 + 2 * n, 101 + 2 * n);
                let mut upstream = local_fin(2_000, back(b, HAPROXY, a, 0));
                upstream.idle_tx_jiffies += n as u32 * spread_jiffies;
                upstream.idle_rx_jiffies += n as u32 * spread_jiffies;
                (local_fin(2_001, front(a, HAPROXY, b, 0)), upstream)
            })
            .collect();
        for (client, upstream) in &pairs {
            chains.note(hop(client));
            chains.note(hop(upstream));
        }
        for (client, upstream) in &pairs {
            let way = way_in(&mut chains, &[*client, *upstream]).expect("it is known");
            assert_eq!(way.cause.is_none(), is_reload);
        }
    }
}

#[test]
fn bytes_that_were_passed_on_make_up_for_the_thread() {
    let client = peer_fin(1_000, false, front(2, HAPROXY, 3, 1));
    let upstream = Conn {
        link_tid: 7,
        ..local_fin(1_001, back(3, HAPROXY, 2, 4))
    };
    for (bytes, cause) in [((500, 40), Some(2)), ((500, 41), None)] {
        let mut hop = hop(&upstream);
        hop.bytes = Some(bytes);
        let way = Chains::default().way(&hop, &mut |_| {
            let mut cause = self::hop(&client);
            cause.bytes = Some((40, 500));
            Some(cause)
        });
        assert_eq!(way.expect("it is known").cause, cause);
    }
}

#[test]
fn a_ring_of_links_ends() {
    let a = local_fin(1_000, front(2, HAPROXY, 3, 3));
    let b = peer_fin(1_000, true, back(3, HAPROXY, 2, 2));
    way(&[a, b]);
    way(&[b, a]);
}

#[test]
#[cfg_attr(miri, ignore = "too many rounds for an interpreter")]
fn it_is_bounded_and_keeps_what_is_still_awaited() {
    let mut chains = Chains::default();
    chains.note(hop(&row_of_proxies()[1]));
    for cookie in 0..2 * KEPT as u64 {
        chains.note(hop(&local_fin(1, conn(1_000 + cookie, CURL, 0, 0, 0))));
    }
    assert!(chains.hops.len() <= KEPT + 1);
    assert!(chains.hops.contains_key(&5), "gunicorn has not ended");
    for cookie in 0..2 * KEPT_MAX as u64 {
        let awaited = conn(1_000_000 + cookie, CURL, 0, 1 << 40 | cookie, 0);
        chains.note(hop(&local_fin(1, awaited)));
    }
    assert!(chains.hops.len() <= KEPT_MAX, "whatever is awaited");
}
