//! Whatever comes from outside, in every form: seeds, what was once found, and a moment of mutations of both. `cargo
//! xtask fuzz` goes on from here for as long as one likes.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// How long mutations are tried.
const MOMENT: Duration = Duration::from_secs(2);

/// What takes longer than this, on a machine that has much else to do, would take for ever.
const TOO_LONG: Duration = Duration::from_secs(30);

/// Longest input.
const MAX_BYTES: usize = 64 << 10;

fn files(folder: &str, target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(folder)
        .join(target);
    let Ok(entries) = fs::read_dir(&folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a file"))
        .collect()
}

/// Numbers by xorshift: the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// One change.
    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const WORDS: [u64; 8] = [
            0,
            1,
            0x7f,
            0x80,
            0xff,
            u32::MAX as u64,
            i64::MAX as u64,
            u64::MAX,
        ];
        const TEXT: &[u8] = b"\"\\\n\t\x1b\xff\0{}[],:=./- e";
        let at = self.below(bytes.len() + 1);
        let longest = 1 << self.below(10);
        let length = self.below(longest).min(bytes.len() - at);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1u8 << self.below(8),
            1 if at < bytes.len() => bytes[at] = TEXT[self.below(TEXT.len())],
            2 => bytes.insert(at, TEXT[self.below(TEXT.len())]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let again = bytes[at..at + length].to_vec();
                bytes.splice(at..at, again);
            }
            5 => {
                let from = self.below(other.len() + 1);
                let to = from + self.below(other.len() - from + 1);
                bytes.splice(at..at + length, other[from..to].iter().copied());
            }
            _ => {
                let word = WORDS[self.below(WORDS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&word[..width]);
            }
        }
        bytes.truncate(MAX_BYTES);
    }
}

fn endure(target: &str, mut seeds: Vec<Vec<u8>>, run: fn(&[u8])) {
    seeds.extend(files("seeds", target));
    seeds.extend(files("findings", target));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let try_one = |bytes: &[u8]| {
        let began = Instant::now();
        let stood = catch_unwind(AssertUnwindSafe(|| run(bytes))).is_ok();
        if !stood || began.elapsed() > TOO_LONG {
            let kept = std::env::temp_dir().join(format!("tracer-finding-{target}"));
            let _ = fs::write(&kept, bytes);
            panic!(
                "{target} does not stand {}: keep it in tracer/fuzz/findings/{target}/",
                kept.display()
            );
        }
    };
    seeds.iter().for_each(|seed| try_one(seed));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let until = Instant::now() + MOMENT;
    while Instant::now() < until {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(6) {
            let other = dice.below(seeds.len());
            dice.mutate(&mut bytes, &seeds[other]);
        }
        try_one(&bytes);
    }
}

/// Files of the other tests that are seeds, too.
fn fixtures(folder: &str, end: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let entries = fs::read_dir(&folder).expect("a folder of fixtures");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|of_file| of_file == end));
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a file"))
        .collect()
}

#[test]
fn types_of_kernels() {
    endure("btf", fixtures("btf", "btf"), targets::btf::run);
}

#[test]
fn cgroups() {
    endure("cgroup", Vec::new(), targets::cgroup::run);
}

#[test]
fn configurations() {
    endure("config", Vec::new(), targets::config::run);
}

#[test]
fn records() {
    endure("decode", Vec::new(), targets::decode::run);
}

#[test]
fn filters() {
    endure("filter", Vec::new(), targets::filter::run);
}

#[test]
fn recordings() {
    endure(
        "replay",
        fixtures("recordings/v1", "ndjson"),
        targets::replay::run,
    );
}
