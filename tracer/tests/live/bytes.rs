//! Byte counts and errors of calls, to the byte, where the rows do not look: with loss on the way, with data left in
//! either queue, and with errors that come later than the record.

use std::{thread::sleep, time::Duration};

use crate::{
    Test,
    lab::{
        agent::{Sock, protocol::Half},
        expect::{
            ABORT_LINGER0, ABORT_UNREAD, End, FIN_LOCAL, FIN_PEER, FIN_PEER_RST, RST_PEER, Want,
            is, judge,
        },
        link::{LINKS, Link, Net, Pair},
        needs::Need,
        tracer::{Line, Recording, Tracer},
    },
    rows::{TIMES, on_links},
};

pub fn tests() -> Vec<Test> {
    let ip = &[Need::Program("ip")];
    let nft = &[Need::Program("ip"), Need::Program("nft")];
    vec![
        Test::new("bytes::five_percent_loss", nft, five_percent_loss),
        Test::new("bytes::unsent_at_abort", ip, unsent_at_abort),
        Test::new("bytes::partly_read_at_close", ip, partly_read_at_close),
        Test::new(
            "bytes::broken_pipe_without_second_write",
            ip,
            broken_pipe_without_second_write,
        ),
        Test::new(
            "bytes::broken_pipe_and_write_600_ms_later",
            ip,
            broken_pipe_and_write_600_ms_later,
        ),
        Test::new("bytes::many_failed_writes", ip, many_failed_writes),
        Test::new("bytes::nosignal", ip, nosignal),
        Test::new("bytes::epipe_of_own_shutdown", ip, epipe_of_own_shutdown),
    ]
}

/// Runs an ending on some links under one tracer, and judges every end.
fn told(links: &[Link], ending: fn(&Net) -> Vec<End>) -> (Recording, Vec<Net>) {
    let tracer = Tracer::start();
    let labs = on_links(links, |link| {
        let net = Net::new(link);
        let ends = ending(&net);
        net.wait_until_gone();
        (net, ends)
    });
    let recording = tracer.finish();
    let (nets, ends): (Vec<Net>, Vec<Vec<End>>) = labs.into_iter().unzip();
    let namespaces: Vec<u64> = nets.iter().flat_map(Net::inodes).collect();
    judge(&recording, &namespaces, &ends.concat());
    (recording, nets)
}

fn both(
    net: &Net,
    pair: &Pair,
    x: crate::lab::expect::Verdict,
    y: crate::lab::expect::Verdict,
) -> [End; 2] {
    [
        End::of(net, &pair.x, Some(&pair.y), x),
        End::of(net, &pair.y, Some(&pair.x), y),
    ]
}

/// Every packet is lost with a probability of 5 %; retransmitted bytes count once.
fn five_percent_loss() {
    let (recording, nets) = told(&[Link::VethV4, Link::VethV6], |net| {
        net.firewall("meta l4proto tcp numgen random mod 100 < 5 drop;");
        let pairs = net.pairs(TIMES);
        for pair in &pairs {
            for _ in 0..6 {
                send(&pair.x, &pair.y, 30_000 + pair.number);
            }
            send(&pair.y, &pair.x, 20_000 + pair.number);
            pair.x.close();
            pair.y.read_eof();
            pair.y.close();
        }
        pairs
            .iter()
            .flat_map(|pair| both(net, pair, FIN_LOCAL, FIN_PEER))
            .collect()
    });
    let namespaces: Vec<i64> = nets
        .iter()
        .flat_map(Net::inodes)
        .map(|inode| inode as i64)
        .collect();
    let retransmitted: i64 = recording
        .ends()
        .filter(|line| {
            line.int("netns")
                .is_some_and(|netns| namespaces.contains(&netns))
        })
        .filter_map(|line| line.int("retrans"))
        .sum();
    assert!(
        retransmitted > 50,
        "only {retransmitted} retransmissions: was there any loss?"
    );
}

fn send(from: &Sock, to: &Sock, len: usize) {
    from.write(len);
    to.read(len);
}

/// The peer's window is closed and our queue is full when we abort.
fn unsent_at_abort() {
    told(&LINKS, |net| {
        let mut ends = Vec::new();
        for pair in net.pairs(TIMES) {
            pair.x.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &[65536]);
            let full = || {
                pair.x.fill(1 << 20);
                let (in_flight, unsent) = pair.x.outstanding();
                if in_flight != 0 || unsent == 0 {
                    return false;
                }
                // Between an acknowledgement and what it lets go there is nothing in flight either.
                sleep(Duration::from_millis(50));
                pair.x.outstanding() == (in_flight, unsent)
            };
            net.wait_for("a closed window", Duration::from_secs(10), full);
            let (_, unsent) = pair.x.outstanding();
            let sent = pair.x.written() - unsent;
            pair.x.close_linger0();
            assert_eq!(pair.y.try_write(1).unwrap_err().errno, libc::ECONNRESET);
            pair.y.close();
            let [x, y] = both(net, &pair, ABORT_LINGER0, RST_PEER);
            ends.push(x.int("tx_bytes", sent).int("tx_unsent_bytes", unsent));
            ends.push(y.int("rx_bytes", sent).int("rx_unread_bytes", sent).errors(
                None,
                Some("ECONNRESET"),
                1,
                false,
            ));
        }
        ends
    });
}

/// A program reads a part of what is there and closes.
fn partly_read_at_close() {
    told(&LINKS, |net| {
        let mut ends = Vec::new();
        for pair in net.pairs(TIMES) {
            let (read, unread) = (1000, 1 + 100 * pair.number);
            pair.y.write(read + unread);
            pair.x.read(read);
            net.wait_for("the rest", Duration::from_secs(10), || {
                pair.x.unread() == unread
            });
            pair.y.settle();
            pair.x.close();
            assert_eq!(pair.y.recv().unwrap_err().errno, libc::ECONNRESET);
            pair.y.close();
            let [x, y] = both(net, &pair, ABORT_UNREAD, RST_PEER);
            ends.push(x.int("rx_unread_bytes", unread));
            ends.push(y.errors(Some("ECONNRESET"), None, 1, false));
        }
        ends
    });
}

/// x closes, y writes into the void; what the ways of doing so have in common.
fn write_into_the_void(net: &Net, pair: &Pair) -> [End; 2] {
    pair.y.write(500 + pair.number);
    net.wait_for("the RST", Duration::from_secs(10), || pair.y.state() == 7);
    let [x, y] = both(net, pair, FIN_LOCAL, FIN_PEER_RST);
    [
        x.int("rx_bytes", pair.x.taken()).int("rx_unread_bytes", 0),
        y.no_closer()
            .int("tx_after_fin_bytes", 500 + pair.number)
            .int("tx_unacked_bytes", 500 + pair.number),
    ]
}

/// The quiet half of the 8 KiB riddle: no call of the program ever fails, and yet the response is lost.
fn broken_pipe_without_second_write() {
    told(&LINKS, |net| {
        let mut ends = Vec::new();
        for pair in net.pairs(TIMES) {
            send(&pair.x, &pair.y, 78);
            pair.x.close();
            let [x, y] = write_into_the_void(net, &pair);
            pair.y.close();
            ends.push(x);
            ends.push(y.errors(None, None, 0, false).io_errors(&[]));
        }
        ends
    });
}

/// The second write comes long after the record; its `tcp_io_error` still names the culprit.
fn broken_pipe_and_write_600_ms_later() {
    let (recording, _nets) = told(&LINKS, |net| {
        let pairs = net.pairs(TIMES);
        let mut ends = Vec::new();
        for pair in &pairs {
            send(&pair.x, &pair.y, 78);
            pair.x.close();
            let [x, y] = write_into_the_void(net, pair);
            ends.push(x);
            // The record does not know of it yet.
            ends.push(
                y.errors(None, None, 0, false)
                    .io_errors(&[("send", "EPIPE")]),
            );
        }
        sleep(Duration::from_millis(600));
        for pair in &pairs {
            assert_eq!(pair.y.try_write(9).unwrap_err().errno, libc::EPIPE);
            pair.y.close();
        }
        ends
    });
    let records: Vec<&Line> = recording
        .ends()
        .filter(|line| line.str("reason") == Some("fin_peer_rst"))
        .collect();
    let mut late = 0;
    for error in recording.of_event("tcp_io_error") {
        let Some(record) = records
            .iter()
            .find(|record| record.str("conn") == error.str("conn"))
        else {
            continue;
        };
        late += 1;
        for key in [
            "reason",
            "closed_by",
            "how",
            "end_age_ms",
            "peer_pid",
            "peer_comm",
            "peer_conn",
            "pid",
            "comm",
        ] {
            assert_eq!(
                error.json[key], record.json[key],
                "{key} of a late error\n{}\n{}",
                error.text, record.text
            );
        }
        assert_eq!(error.json["sigpipe"], true, "{}", error.text);
        assert!(error.str("story").is_some(), "no story: {}", error.text);
        assert!(
            error.int("seq") > record.int("seq"),
            "the error was to come after the record"
        );
    }
    assert_eq!(late, 4 * TIMES, "late errors with their records");
}

/// The first three errors of a connection are lines; the others are counted.
fn many_failed_writes() {
    told(&LINKS, |net| {
        let mut ends = Vec::new();
        for pair in net.pairs(TIMES) {
            send(&pair.x, &pair.y, 78);
            pair.x.close();
            let [x, y] = write_into_the_void(net, &pair);
            for _ in 0..5 {
                assert_eq!(pair.y.try_write(9).unwrap_err().errno, libc::EPIPE);
            }
            pair.y.close();
            ends.push(x);
            ends.push(
                y.errors(None, Some("EPIPE"), 5, true)
                    .want("suppressed", is(2))
                    .io_errors(&[("send", "EPIPE"); 3]),
            );
        }
        ends
    });
}

/// With MSG_NOSIGNAL there is no SIGPIPE.
fn nosignal() {
    told(&LINKS, |net| {
        let mut ends = Vec::new();
        for pair in net.pairs(TIMES) {
            send(&pair.x, &pair.y, 78);
            pair.x.close();
            let [x, y] = write_into_the_void(net, &pair);
            let error = pair.y.try_write_with(9, 9, libc::MSG_NOSIGNAL).unwrap_err();
            assert_eq!(error.errno, libc::EPIPE);
            pair.y.close();
            ends.push(x);
            ends.push(
                y.errors(None, Some("EPIPE"), 1, false)
                    .io_errors(&[("send", "EPIPE")]),
            );
        }
        ends
    });
}

/// EPIPE after one's own shutdown is nobody else's doing.
fn epipe_of_own_shutdown() {
    told(&LINKS, |net| {
        let mut ends = Vec::new();
        for pair in net.pairs(TIMES) {
            send(&pair.x, &pair.y, 78);
            pair.x.shutdown(Half::Write);
            assert_eq!(pair.x.try_write(9).unwrap_err().errno, libc::EPIPE);
            pair.y.read_eof();
            pair.y.close();
            pair.x.read_eof();
            pair.x.close();
            let [x, y] = both(net, &pair, FIN_LOCAL, FIN_PEER);
            ends.push(
                x.errors(None, Some("EPIPE"), 1, true)
                    .want("tx_after_fin_bytes", Want::Is(0.into()))
                    .io_errors(&[("send", "EPIPE")]),
            );
            ends.push(y.errors(None, None, 0, false));
        }
        ends
    });
}
