//! The output file: made so that not everybody reads it, written by one tracer at a time, and without half a
//! line that a killed one may have left.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::shared_folder;
use crate::event::MAX_LINE_BYTES;

/// Not world-readable: the lines name processes and peers.
pub const MODE: u32 = 0o640;

/// For a tracer that is just ending: kprobes take more than a second to be taken away on a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(20);

/// How every line of ours begins as JSON.
const BEGINNING: &[u8] = b"{\"v\":";

/// Opens the file to append to it.
pub fn open(path: &Path) -> Result<File> {
    let what = || format!("cannot open the output file {}", path.display());
    let mut file = shared_folder::append(path, MODE).with_context(what)?;
    // A pipe or a device has neither owner nor past.
    if file.metadata().with_context(what)?.is_file() {
        lock(&file, path)?;
        mend(&mut file).with_context(|| {
            format!(
                "cannot mend the last line of the output file {}",
                path.display()
            )
        })?;
    }
    Ok(file)
}

/// The file anew, after something else may have taken its place; `None`: it is the same still.
pub fn reopen(path: &Path, now: &File) -> Result<Option<File>> {
    // Its lock is ours, and would keep us out.
    if let (Ok(there), Ok(now)) = (path.metadata(), now.metadata())
        && (there.dev(), there.ino()) == (now.dev(), now.ino())
    {
        return Ok(None);
    }
    open(path).map(Some)
}

fn lock(file: &File, path: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => sleep(NAP),
            Err(TryLockError::WouldBlock) => bail!(
                "another tracer writes to the output file {}: give each --output-file a name of its own",
                path.display()
            ),
            // Not every file system has locks.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "the output file is not locked");
                return Ok(());
            }
        }
    }
}

/// SIGKILL in the middle of a write leaves half a line. It becomes spaces, which JSON's readers pass over, and not a
/// shorter file: who follows the file would begin anew.
fn mend(file: &mut File) -> io::Result<()> {
    let size = file.metadata()?.len();
    // By its descriptor: another file may have its name by now.
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    let Ok(other) = OpenOptions::new().read(true).write(true).open(itself) else {
        return Ok(());
    };
    let begin = size.saturating_sub(MAX_LINE_BYTES as u64);
    let mut tail = vec![0; (size - begin) as usize];
    other.read_exact_at(&mut tail, begin)?;
    let half = tail.rsplit(|byte| *byte == b'\n').next().unwrap_or(&[]);
    if half.is_empty() {
        return Ok(());
    }
    let common = half.len().min(BEGINNING.len());
    if half[..common] == BEGINNING[..common] {
        other.write_all_at(&vec![b' '; half.len()], size - half.len() as u64)?;
    }
    // What is not ours is ended, so that our first line is whole.
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::PathBuf};

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("tracer-file-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, text).expect("a temporary file");
            Temporary(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn half_a_line_is_mended_and_nothing_else_is_changed() {
        for (name, before, after) in [
            ("empty", "", ""),
            ("whole", "{\"v\":1}\n", "{\"v\":1}\n"),
            ("half", "{\"v\":1}\n{\"v\":1,\"e", "{\"v\":1}\n         \n"),
            ("only", "{\"v", "   \n"),
            ("other", "not ours", "not ours\n"),
        ] {
            let file = Temporary::new(name, before);
            drop(open(&file.0).expect("it is ours"));
            let found = fs::read_to_string(&file.0).expect("it is there");
            assert_eq!(found, after, "{name}");
        }
    }

    #[test]
    fn one_at_a_time_and_again_when_another_file_has_its_name() {
        let file = Temporary::new("lock", "");
        let first = open(&file.0).expect("nobody has it");
        let refused = open(&file.0).expect_err("it is taken").to_string();
        assert!(refused.contains("another tracer"), "{refused}");
        assert!(reopen(&file.0, &first).expect("the same").is_none());
        fs::remove_file(&file.0).expect("it is ours");
        let second = reopen(&file.0, &first).expect("nobody has it");
        assert!(second.is_some() && file.0.exists());
        drop((first, second));
        open(&file.0).expect("nobody has it any more");
    }
}
