//! The clause about what was behind an end: what brought it about, and where that began.

use crate::event::{End, text::Label, values::ClosedBy};

/// `, because haproxy[90] had closed its connection, which began when curl[100] exited`; empty if
/// nothing is behind it. The last deed of a chain is the one that the sentence itself tells.
pub fn clause(end: &End) -> String {
    let Some(deeds) = end.chain.as_ref().map(|chain| &chain.0[..]) else {
        return String::new();
    };
    let [before @ .., last] = deeds else {
        return String::new();
    };
    let Some(cause) = before.last() else {
        return String::new();
    };
    let (actor, _) = split(last);
    let because = if end.closed_by == ClosedBy::Local {
        ", because".to_owned()
    } else {
        format!("; {actor} had closed it because")
    };
    let (who, how) = split(cause);
    let cause = if who == actor {
        format!("it had itself {} on the other side", past(how))
    } else {
        format!("{who} had {}", past(how))
    };
    let began = match before {
        [root, _, ..] => {
            let (who, how) = split(root);
            format!(", which began when {who} {}", past(how))
        }
        _ => String::new(),
    };
    format!("{because} {cause}{began}")
}

/// Who, and how.
fn split(deed: &Label) -> (&str, &str) {
    deed.as_str()
        .rsplit_once(' ')
        .unwrap_or((deed.as_str(), ""))
}

/// Both as a participle and as a past tense.
fn past(how: &str) -> &'static str {
    match how {
        "fin" => "closed its connection",
        "rst" => "reset its connection",
        "exit" => "exited",
        "timeout" => "lost its connection to silence",
        _ => "ended its connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::sample, event::values::List};

    fn of(closed_by: ClosedBy, deeds: &[&str]) -> String {
        let mut end = sample::end();
        end.closed_by = closed_by;
        end.chain = Some(List(deeds.iter().map(|deed| Label::from(*deed)).collect()));
        clause(&end)
    }

    #[test]
    fn one_hop_names_its_cause() {
        assert_eq!(
            of(ClosedBy::Local, &["curl[1] exit", "nginx[2] fin"]),
            ", because curl[1] had exited"
        );
        assert_eq!(
            of(ClosedBy::Peer, &["curl[1] fin", "nginx[2] fin"]),
            "; nginx[2] had closed it because curl[1] had closed its connection"
        );
    }

    #[test]
    fn more_hops_name_where_it_began() {
        assert_eq!(
            of(
                ClosedBy::Local,
                &["curl[1] rst", "haproxy[2] fin", "nginx[3] fin"]
            ),
            ", because haproxy[2] had closed its connection, which began when curl[1] reset its connection"
        );
    }

    #[test]
    fn a_proxy_that_gave_up_tells_its_client_so() {
        assert_eq!(
            of(ClosedBy::Local, &["haproxy[2] fin", "haproxy[2] fin"]),
            ", because it had itself closed its connection on the other side"
        );
    }

    #[test]
    fn names_from_outside_are_cut_at_the_last_space_only() {
        assert_eq!(
            of(ClosedBy::Local, &["a b c[1] fin", "d[2] fin"]),
            ", because a b c[1] had closed its connection"
        );
        assert_eq!(of(ClosedBy::Local, &["odd"]), "");
        assert_eq!(
            of(ClosedBy::Local, &["odd", "d[2] fin"]),
            ", because odd had ended its connection"
        );
    }
}
