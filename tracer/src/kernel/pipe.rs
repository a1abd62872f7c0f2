//! How much a pipe takes at once.

use std::os::fd::{AsFd, AsRawFd};

use nix::fcntl::{FcntlArg, fcntl};

/// PIPE_BUF: a pipe takes so many bytes whole or not at all.
const ATOMIC_BYTES: usize = 4_096;

/// What a pipe holds at most; `None`: this is none.
pub fn capacity_bytes(file: &impl AsFd) -> Option<usize> {
    let capacity = fcntl(file, FcntlArg::F_GETPIPE_SZ).ok()?;
    usize::try_from(capacity).ok()
}

/// How many bytes it takes whole or not at all now.
pub fn room_bytes(file: &impl AsFd, capacity_bytes: usize) -> usize {
    let mut unread: libc::c_int = 0;
    // SAFETY: FIONREAD writes an int.
    let told = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::FIONREAD, &mut unread) };
    match usize::try_from(unread) {
        Ok(unread) if told == 0 => surely_free(capacity_bytes, unread),
        _ => ATOMIC_BYTES,
    }
}

/// The kernel appends to the last page only what fits into it, so that two pages in a row hold a page of bytes at least;
/// and of the first one some may have been read.
fn surely_free(capacity_bytes: usize, unread_bytes: usize) -> usize {
    let taken = 2 * (unread_bytes + ATOMIC_BYTES);
    capacity_bytes.saturating_sub(taken).max(ATOMIC_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use std::io::{Read, Write, pipe};

    #[test]
    fn what_there_is_room_for_goes_in_at_once() {
        let (mut reader, mut writer) = pipe().expect("a pipe");
        let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        fcntl(&writer, flags).expect("a flag");
        let capacity = capacity_bytes(&writer).expect("it is a pipe");
        let mut random: usize = 1;
        let mut below = |limit: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % limit + 1
        };
        for _ in 0..20_000 {
            let room = room_bytes(&writer, capacity);
            if room > ATOMIC_BYTES {
                let count = below(room);
                let written = writer.write(&vec![b'x'; count]).expect("there is room");
                assert_eq!(written, count);
            } else {
                let count = below(capacity);
                let _ = reader
                    .read(&mut vec![0; count])
                    .expect("something is in it");
            }
        }
        let file = std::fs::File::open("/dev/null").expect("a device");
        assert_eq!(capacity_bytes(&file), None);
    }
}
