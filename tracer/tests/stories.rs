//! Stories of real ends, told again from their recorded records: every change of wording shows in
//! tests/stories/*.txt, which UPDATE_DOCS=1 renews. A recording is NDJSON as tracer writes it; another
//! one is a file more. endings.ndjson has one of each kind out of the live tests' rows (LIVE_KEEP), the
//! others are made by the live tests of servers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tracer::{
    core::explain::{GaveUp, story},
    event::{Body, End, Event},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories")
}

/// The recordings, by name.
fn recordings() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).expect("tests/stories");
    let mut files: Vec<PathBuf> = files
        .map(|file| file.expect("an entry of a folder").path())
        .filter(|file| file.extension().is_some_and(|end| end == "ndjson"))
        .collect();
    files.sort();
    files
}

/// What stood in brackets about the time: it was made of the table of timeouts and of the ends before,
/// which a record does not carry.
fn aside(end: &End) -> String {
    let story = end.story.as_ref().map_or("", |story| story.as_str());
    let about_time = |text: &str| {
        text.contains(" such ends came at ")
            || end.hints.0.iter().any(|id| text.contains(id.as_str()))
    };
    let brackets = story.match_indices(" (").filter_map(|(start, _)| {
        let end = story[start..].find(')')? + start;
        Some(&story[start..=end])
    });
    brackets
        .into_iter()
        .find(|text| about_time(text))
        .unwrap_or_default()
        .to_owned()
}

/// A line a record: which end of what, and its story.
fn told(recording: &Path) -> String {
    let text = fs::read_to_string(recording).expect("a recording");
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let event = Event::parse(line.as_bytes())
            .unwrap_or_else(|fault| panic!("{}:{}: {fault}", recording.display(), number + 1));
        let Body::End { ids, end } = event.body else {
            continue;
        };
        let pattern = end.pattern.map_or("-", |pattern| pattern.as_str());
        let story = story(&ids, &end, true, &aside(&end), &GaveUp::default());
        out += &format!("{} {} {pattern}: {story}\n", ids.role, end.reason);
    }
    out
}

#[test]
fn every_recorded_end_is_told_as_agreed() {
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let mut stale = Vec::new();
    for recording in recordings() {
        let golden = recording.with_extension("txt");
        let told = told(&recording);
        if update {
            fs::write(&golden, told).expect("tests/stories can be written");
            continue;
        }
        let agreed = fs::read_to_string(&golden).unwrap_or_default();
        for (told, agreed) in told.lines().zip(agreed.lines()) {
            if told != agreed {
                stale.push(format!(
                    "{}:\n  was: {agreed}\n  is:  {told}",
                    golden.display()
                ));
            }
        }
        if told.lines().count() != agreed.lines().count() {
            stale.push(format!("{}: another number of stories", golden.display()));
        }
    }
    assert!(
        stale.is_empty(),
        "{}\nUPDATE_DOCS=1 cargo test --package tracer --test stories accepts it",
        stale.join("\n")
    );
}

#[test]
fn a_story_is_two_sentences_at_most() {
    for recording in recordings() {
        for line in told(&recording).lines() {
            let (_, story) = line.split_once(": ").expect("as told");
            assert!(story.ends_with('.'), "{line}");
            // A sentence begins with a capital or a process's name.
            let sentences = 1 + story.matches(". ").count();
            assert!(sentences <= 2, "{line}");
        }
    }
}
