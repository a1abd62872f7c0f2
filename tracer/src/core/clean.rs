//! What `--abnormal` leaves out: the definition of a clean close, from the keys alone, so that a
//! recording can be filtered later exactly as the live run would have been.

use super::numbers::Idle;
use crate::event::{
    Body, End, Event, Ids,
    values::{How, Kind, LastData, Reason, Role, What},
};

/// Whether nothing at all was wrong with this end. What is unknown is not known to be clean.
pub fn is_clean(ids: &Ids, end: &End) -> bool {
    ended_by_fin(end) && no_error(end) && nothing_left(end) && !unanswered(ids, end)
}

/// Whether an event is a close with nothing wrong in it.
pub fn clean(event: &Event) -> bool {
    match &event.body {
        Body::End { ids, end } => event.head.event == Kind::TcpClose && is_clean(ids, end),
        _ => false,
    }
}

/// A FIN came first and no RST after it: one that this end received shows in `reason` and `errno`,
/// one that it sent in `rst_reason`, or in the timeline alone where the kernel gives no reasons.
fn ended_by_fin(end: &End) -> bool {
    end.how == How::Fin
        && matches!(
            end.reason,
            Reason::FinLocal | Reason::FinPeer | Reason::FinBoth
        )
        && !sent_rst(end)
}

pub fn sent_rst(end: &End) -> bool {
    let mut moments = end.timeline.iter().flat_map(|timeline| &timeline.0);
    end.rst_reason.is_some() || moments.any(|moment| moment.what == What::RstSent)
}

fn no_error(end: &End) -> bool {
    end.errno.is_none()
        && end.read_errno.is_none()
        && end.write_errno.is_none()
        && end.io_errors == 0
        && !end.sigpipe
}

fn nothing_left(end: &End) -> bool {
    [
        end.rx_unread_bytes,
        end.tx_unacked_bytes,
        end.tx_unsent_bytes,
        end.tx_after_fin_bytes,
    ]
    .iter()
    .all(|bytes| *bytes == Some(0))
}

/// A server end that received last, or a client end that sent last. Clocks that are equal to the
/// kernel's tick cannot say which came last, and count as answered.
pub fn unanswered(ids: &Ids, end: &End) -> bool {
    let idle = Idle {
        rx_ms: end.idle_rx_ms,
        tx_ms: end.idle_tx_ms,
    };
    awaits_answer(ids.role, end.last_data, &idle)
}

/// The same, from what an end is made of.
pub fn awaits_answer(role: Role, last_data: LastData, idle: &Idle) -> bool {
    let waiting = matches!(
        (role, last_data),
        (Role::Server, LastData::Rx) | (Role::Client, LastData::Tx)
    );
    let same_tick = idle.rx_ms.is_some() && idle.rx_ms == idle.tx_ms;
    waiting && !same_tick
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::sample,
        event::{
            text::Label,
            values::{Errno, List, Moment},
        },
    };

    /// A server that answered and was closed by its client.
    fn clean() -> (Ids, End) {
        let (mut ids, mut end) = (sample::ids(), sample::end());
        ids.role = Role::Server;
        end.last_data = LastData::Tx;
        (ids, end)
    }

    #[test]
    fn an_answered_close_is_clean_by_any_of_the_three_reasons() {
        let (ids, mut end) = clean();
        for reason in Reason::ALL {
            end.reason = *reason;
            let fin = matches!(reason.as_str(), "fin_local" | "fin_peer" | "fin_both");
            assert_eq!(is_clean(&ids, &end), fin, "{reason}");
        }
    }

    #[test]
    fn every_single_fault_makes_it_abnormal() {
        type Fault = (&'static str, fn(&mut End));
        let faults: [Fault; 17] = [
            ("how", |end| end.how = How::Rst),
            ("rst_reason", |end| {
                end.rst_reason = Some(Label::from("abort_on_data"));
            }),
            ("RST without a reason", |end| {
                end.timeline = Some(List(vec![Moment::at(1, What::RstSent)]));
            }),
            ("errno", |end| end.errno = Some(Errno(104))),
            ("read_errno", |end| end.read_errno = Some(Errno(104))),
            ("write_errno", |end| end.write_errno = Some(Errno(32))),
            ("io_errors", |end| end.io_errors = 1),
            ("sigpipe", |end| end.sigpipe = true),
            ("unread", |end| end.rx_unread_bytes = Some(1)),
            ("unacked", |end| end.tx_unacked_bytes = Some(1)),
            ("unsent", |end| end.tx_unsent_bytes = Some(1)),
            ("after FIN", |end| end.tx_after_fin_bytes = Some(1)),
            ("unread unknown", |end| end.rx_unread_bytes = None),
            ("unacked unknown", |end| end.tx_unacked_bytes = None),
            ("unsent unknown", |end| end.tx_unsent_bytes = None),
            ("after FIN unknown", |end| end.tx_after_fin_bytes = None),
            ("unanswered", |end| end.last_data = LastData::Rx),
        ];
        for (name, fault) in faults {
            let (ids, mut end) = clean();
            assert!(is_clean(&ids, &end), "before {name}");
            fault(&mut end);
            assert!(!is_clean(&ids, &end), "{name}");
        }
    }

    #[test]
    fn whose_turn_it_was_depends_on_the_role() {
        for (role, last, answered) in [
            (Role::Server, LastData::Rx, false),
            (Role::Server, LastData::Tx, true),
            (Role::Client, LastData::Rx, true),
            (Role::Client, LastData::Tx, false),
            (Role::Server, LastData::None, true),
            (Role::Client, LastData::None, true),
            (Role::Unknown, LastData::Rx, true),
            (Role::Unknown, LastData::Tx, true),
        ] {
            let (mut ids, mut end) = clean();
            ids.role = role;
            end.last_data = last;
            assert_eq!(is_clean(&ids, &end), answered, "{role} {last}");
        }
    }

    #[test]
    fn equal_clocks_count_as_answered_and_absent_ones_do_not() {
        let (ids, mut end) = clean();
        end.last_data = LastData::Rx;
        (end.idle_rx_ms, end.idle_tx_ms) = (Some(4), Some(4));
        assert!(is_clean(&ids, &end));
        end.idle_tx_ms = Some(8);
        assert!(!is_clean(&ids, &end));
        (end.idle_rx_ms, end.idle_tx_ms) = (None, None);
        assert!(!is_clean(&ids, &end));
    }
}
