//! The filter line of the live view, and the same words as options.

use std::ffi::OsString;

use tracer::{
    cli::{self, Command},
    tui::query::{complete, completion, parse},
};

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (candidates, typed) = complete(&text, |_| {
        vec!["nginx".to_owned(), "é\u{202e}\"".to_owned()]
    });
    if !candidates.is_empty() {
        let more = completion(&candidates, typed);
        assert!(
            candidates
                .iter()
                .all(|candidate| candidate.get(typed..).is_some()),
            "{candidates:?} {typed}"
        );
        assert!(
            candidates[0].ends_with(&more) || candidates.len() > 1,
            "{candidates:?} {more:?}"
        );
    }
    let Ok(filter) = parse(&text) else { return };
    // What it says of itself are options that mean the same.
    let options = filter.describe();
    let args = options.iter().map(|option| option.replacen(' ', "=", 1));
    let args = ["tracer".to_owned()].into_iter().chain(args);
    let args = args.map(OsString::from);
    match cli::parse(args, |_: &str| None::<OsString>) {
        Ok(Command::Live(settings)) => assert_eq!(settings.filter, filter, "{options:?}"),
        other => panic!("{options:?}: {other:?}"),
    }
}
