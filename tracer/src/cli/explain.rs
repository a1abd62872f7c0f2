//! `tracer explain`: the page of a reason, a pattern, a hint or a RST, built in so that it is at hand at night on
//! a machine without documentation.

use clap::builder::PossibleValue;

use super::Usage;
use crate::{
    core::timeouts::BUILT_IN,
    event::values::{Pattern, Reason},
};

/// The page of each variant; a new variant does not compile without one.
macro_rules! pages {
    ($fn:ident, $names:ident: $($variant:ident = $page:literal,)*) => {
        fn $fn(name: $names) -> &'static str {
            match name {
                $($names::$variant => {
                    include_str!(concat!("../../../docs/reasons/", $page, ".md"))
                })*
            }
        }
    };
}

pages! {
    of_reason, Reason:
    FinLocal = "fin_local",
    FinPeer = "fin_peer",
    FinBoth = "fin_both",
    FinPeerRst = "fin_peer_rst",
    RstPeer = "rst_peer",
    AbortUnread = "abort_unread",
    AbortLinger0 = "abort_linger0",
    AbortAdmin = "abort_admin",
    Disconnect = "disconnect",
    ListenerClosed = "listener_closed",
    TimeoutRetrans = "timeout_retrans",
    TimeoutKeepalive = "timeout_keepalive",
    TimeoutUser = "timeout_user",
    TimeoutProbe = "timeout_probe",
    TimeoutFinWait = "timeout_fin_wait",
    TimeoutOrphan = "timeout_orphan",
    ConnectRefused = "connect_refused",
    ConnectTimeout = "connect_timeout",
    ConnectUnreachable = "connect_unreachable",
    ConnectCancelled = "connect_cancelled",
    Oom = "oom",
    NetnsExit = "netns_exit",
    Unknown = "unknown",
}

pages! {
    of_pattern, Pattern:
    ProcessExit = "process_exit",
    DeadPeer = "dead_peer",
    SilentDrop = "silent_drop",
    PeerGaveUpWaiting = "peer_gave_up_waiting",
    LocalGaveUpWaiting = "local_gave_up_waiting",
    PeerNoAnswer = "peer_no_answer",
    LocalNoAnswer = "local_no_answer",
    NoRequest = "no_request",
    WriteAfterPeerClose = "write_after_peer_close",
    PeerIdleClose = "peer_idle_close",
    LocalIdleClose = "local_idle_close",
    MaxAge = "max_age",
    Normal = "normal",
}

/// The table of the kernel's reasons for a RST: name, what it met, what to check next.
const RST_REASONS: &str = include_str!("../../../docs/rst-reasons.md");

/// The page of a reason for a RST, from its row.
fn of_rst(name: &str) -> Option<String> {
    let row = rst_rows().find(|row| row[0] == name)?;
    let [name, met, check] = row;
    Some(format!(
        "# {name}\n\nWhy this node's kernel sent a RST (`rst_reason`). {met}\n\n## What to check next\n\n{check}\n"
    ))
}

fn rst_rows() -> impl Iterator<Item = [&'static str; 3]> {
    RST_REASONS.lines().filter_map(|line| {
        let row = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let (name, rest) = row.split_once("` | ")?;
        let (met, check) = rest.split_once(" | ")?;
        Some([name, met, check])
    })
}

/// The names that have a page, for help and completions.
pub fn names() -> Vec<PossibleValue> {
    let reasons = Reason::ALL
        .iter()
        .map(|name| (name.as_str(), name.meaning()));
    let patterns = Pattern::ALL
        .iter()
        .map(|name| (name.as_str(), name.meaning()));
    reasons
        .chain(patterns)
        .map(|(name, meaning)| PossibleValue::new(name).help(meaning))
        .collect()
}

/// The page of a name; spelled with capitals or hyphens it is understood too.
pub fn page(name: &str) -> Result<String, Usage> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let reason = wanted.parse().map(of_reason);
    let page = reason.or_else(|()| wanted.parse().map(of_pattern));
    if let Some(timeout) = BUILT_IN.get(name) {
        return Ok(timeout.page());
    }
    let page = page.map(str::to_owned).ok().or_else(|| of_rst(&wanted));
    page.ok_or_else(|| {
        let names: Vec<_> = names()
            .iter()
            .map(|name| name.get_name().to_owned())
            .collect();
        Usage(format!(
            "explain {name:?}: expected a hint (docs/timeouts.md lists them), a RST's reason (docs/rst-reasons.md), or a \
             reason or a pattern, one of {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<(&'static str, &'static str, &'static str)> {
        let reasons = Reason::ALL
            .iter()
            .map(|name| (name.as_str(), name.meaning(), of_reason(*name)));
        let patterns = Pattern::ALL
            .iter()
            .map(|name| (name.as_str(), name.meaning(), of_pattern(*name)));
        reasons.chain(patterns).collect()
    }

    #[test]
    fn every_name_has_its_own_page_of_the_same_form() {
        for (name, meaning, page) in all() {
            let begin = format!("# {name}\n\n{meaning}\n\n");
            assert!(page.starts_with(&begin), "{name}: begins {page:.80}");
            for section in ["\n## How it comes about\n", "\n## What to check next\n"] {
                assert!(page.contains(section), "{name}: no {section}");
            }
            assert!(
                page.lines().count() <= 25,
                "{name}: too long for one screen"
            );
            for line in page.lines() {
                assert!(line.chars().count() <= 100, "{name}: too wide: {line}");
            }
        }
    }

    #[test]
    fn no_name_is_both_a_reason_and_a_pattern_and_no_page_is_left_over() {
        let names: BTreeSet<_> = all()
            .iter()
            .map(|(name, ..)| format!("{name}.md"))
            .collect();
        assert_eq!(names.len(), Reason::ALL.len() + Pattern::ALL.len());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons");
        let files: BTreeSet<_> = std::fs::read_dir(folder)
            .expect("docs/reasons")
            .map(|file| {
                file.expect("a file")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert_eq!(files, names);
    }

    #[test]
    fn every_reason_of_a_rst_has_a_row() {
        let names: BTreeSet<_> = rst_rows().map(|row| row[0]).collect();
        let rows = RST_REASONS.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(names.len(), rows.count());
        let page = page("TCP-timewait-socket").expect("a page");
        assert!(page.starts_with("# tcp_timewait_socket\n"), "{page}");
        assert!(page.contains("\n## What to check next\n"), "{page}");
        for (name, ..) in all() {
            assert!(!names.contains(name), "{name}");
        }
    }

    #[test]
    fn names_are_found_however_they_are_spelled() {
        for name in ["fin_peer_rst", "FIN_PEER_RST", "fin-peer-rst"] {
            assert!(page(name).is_ok_and(|page| page.starts_with("# fin_peer_rst")));
        }
        let timeout = page("nginx.proxy_read_timeout").expect("a page");
        assert!(
            timeout.contains("\nDefault   60 s\n")
                && timeout.contains("\nSetting   proxy_read_timeout"),
            "{timeout}"
        );
        let error = page("broken_pipe").expect_err("no such name").0;
        assert!(
            error.contains("fin_peer_rst") && error.contains("dead_peer"),
            "{error}"
        );
    }
}
