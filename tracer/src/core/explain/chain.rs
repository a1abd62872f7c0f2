//! The clause about what was behind an end: the first cause, and the way from there.

use crate::event::End;

/// `; it began with curl[100] (fin), then haproxy[90] (fin)`: the deeds before this end's own or its
/// peer's; empty if nothing is behind it.
pub fn clause(end: &End) -> String {
    let Some(chain) = &end.chain else {
        return String::new();
    };
    // The last one is what the sentence itself tells.
    let before = &chain.0[..chain.0.len().saturating_sub(1)];
    let deeds: Vec<String> = before
        .iter()
        .map(|deed| match deed.as_str().rsplit_once(' ') {
            Some((who, how)) => format!("{who} ({how})"),
            None => deed.as_str().to_owned(),
        })
        .collect();
    match deeds.split_first() {
        None => String::new(),
        Some((first, [])) => format!("; it began with {first}"),
        Some((first, rest)) => format!("; it began with {first}, then {}", rest.join(", ")),
    }
}
