//! The ways in which a connection of the load goes and ends, played by both of its ends at once: each knows its part from
//! the client's first bytes. `x` is the end that the way is about, in turn the client and the server.

use std::io;

use serde::{Deserialize, Serialize};

use super::end::{Closed, End};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Way {
    /// x closes, y follows.
    Fin,
    /// x shuts its direction down; y goes on writing, and closes.
    HalfClose,
    /// Both shut down, one after the other, and close later.
    BothShutDown,
    /// x's close waits for the last acknowledgement.
    Lingers,
    /// Both close at the same moment.
    BothClose,
    /// x closes while y writes.
    CloseUnderWrites,
    /// x closes what it has not read.
    Unread,
    /// The same after y has shut its direction down.
    UnreadAfterFin,
    /// x sends a RST; y reads, or writes twice.
    AbortRead,
    AbortWrite,
    /// The same, and y asks for the error without a call that fails by it.
    AbortTaken,
    /// x sends a RST over a full queue.
    AbortFull,
    /// Both send a RST at the same moment.
    BothAbort,
    /// x closes while y sends a RST.
    CloseMeetsAbort,
    /// y sends a RST after x has shut its direction down.
    AbortAfterShutdown,
    /// x closes, y writes: the broken pipe. Quiet: y asks no more and never hears of it.
    BrokenPipe,
    BrokenPipeQuiet,
    /// x shuts down both directions and keeps the descriptor; y writes.
    ShutdownBoth,
    /// x dissolves the association and connects again with the same socket.
    Disconnect,
    /// x's process exits, or is killed by itself, with everything or not everything read.
    Exit,
    ExitUnread,
    Killed,
    /// The client does not wait for anything: FIN or RST right behind its first bytes.
    HurriedClose,
    HurriedAbort,
    /// The client says nothing at all: RST or FIN right behind the handshake.
    SilentAbort,
    SilentClose,
    /// Nobody listens there.
    Refused,
    /// The SYN goes nowhere: the socket is closed, or gives up by TCP_USER_TIMEOUT.
    Cancelled,
    TimedOut,
    /// The client's port is still taken by an earlier connection.
    NoPort,
    /// The client is its own listener, and closes that without accepting.
    ListenerClosed,
    /// The client connects to itself.
    Itself,
}

use Way::*;

/// Where two processes take part, and both are sure of what happens or of what may.
pub const PLAYED: [Way; 24] = [
    Fin,
    HalfClose,
    BothShutDown,
    Lingers,
    BothClose,
    CloseUnderWrites,
    Unread,
    UnreadAfterFin,
    AbortRead,
    AbortWrite,
    AbortTaken,
    AbortFull,
    BothAbort,
    CloseMeetsAbort,
    AbortAfterShutdown,
    BrokenPipe,
    BrokenPipeQuiet,
    ShutdownBoth,
    Disconnect,
    HurriedClose,
    HurriedAbort,
    SilentAbort,
    SilentClose,
    Refused,
];

/// Only for processes that end with their connections.
pub const DEADLY: [Way; 3] = [Exit, ExitUnread, Killed];

/// After these the same two ports may be used again at once.
pub const AGAIN: [Way; 6] = [Fin, HalfClose, Unread, AbortRead, AbortWrite, BothAbort];

impl Way {
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub fn of_code(code: u8) -> Option<Way> {
        PLAYED
            .into_iter()
            .chain(DEADLY)
            .find(|way| way.code() == code)
    }

    pub fn is_deadly(self) -> bool {
        DEADLY.contains(&self)
    }

    /// Whether the client's first bytes are followed by an exchange.
    fn talks(self) -> bool {
        !matches!(
            self,
            HurriedClose | HurriedAbort | SilentClose | SilentAbort
        )
    }

    /// Whether only the client can be x.
    pub fn is_the_clients(self) -> bool {
        matches!(
            self,
            HurriedClose | HurriedAbort | SilentAbort | SilentClose | Refused
        )
    }
}

/// What the client says first.
#[derive(Debug, Clone, Copy)]
pub struct Deal {
    pub number: u64,
    pub way: Way,
    pub x_is_client: bool,
    /// Payload of x, of y, and what comes late.
    pub there: u32,
    pub back: u32,
    pub late: u32,
}

pub const DEAL_BYTES: usize = 22;

impl Deal {
    pub fn encode(&self) -> [u8; DEAL_BYTES] {
        let mut bytes = [0; DEAL_BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8] = self.way.code();
        bytes[9] = u8::from(self.x_is_client);
        for (at, value) in (10..).step_by(4).zip([self.there, self.back, self.late]) {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8; DEAL_BYTES]) -> io::Result<Deal> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let way = Way::of_code(bytes[8])
            .ok_or_else(|| io::Error::other(format!("there is no way {}", bytes[8])))?;
        Ok(Deal {
            number: u64::from(word(0)) | u64::from(word(4)) << 32,
            way,
            x_is_client: bytes[9] != 0,
            there: word(10),
            back: word(14),
            late: word(18),
        })
    }
}

/// Plays the part of `end`, and closes it; what it did is in `end.entry`. Of a deadly way x's part ends before the end.
pub fn play(end: &mut End, deal: &Deal) -> io::Result<Closed> {
    let is_x = end.entry.is_x;
    let (there, back) = (deal.there as usize, deal.back as usize);
    if deal.way.talks() {
        if is_x {
            end.write(there)?;
            match deal.way {
                // y does not wait for its answer to arrive.
                BothAbort | CloseMeetsAbort => end.read_or_reset(back)?,
                _ => end.read(back)?,
            }
        } else {
            end.read(there)?;
            end.write(back)?;
        }
    }
    if is_x { x(end, deal) } else { y(end, deal) }
}

fn x(end: &mut End, deal: &Deal) -> io::Result<Closed> {
    let late = deal.late as usize;
    match deal.way {
        HalfClose => {
            end.shutdown_write()?;
            end.read(late)?;
            end.read_end()?;
        }
        CloseUnderWrites => {
            end.read(late)?;
        }
        Unread => end.wait_for_unread(late)?,
        UnreadAfterFin => {
            end.wait_for_unread(late)?;
            end.wait_for_fin()?;
        }
        BothShutDown => {
            end.shutdown_write()?;
            end.read_end()?;
        }
        Lingers => end.linger()?,
        AbortFull => {
            end.fill()?;
            end.linger0()?;
        }
        AbortRead | AbortWrite | AbortTaken | BothAbort | HurriedAbort | SilentAbort => {
            end.linger0()?;
        }
        AbortAfterShutdown => {
            end.shutdown_write()?;
            end.read_reset()?;
        }
        ShutdownBoth => {
            end.shutdown_both()?;
            end.wait_for_close()?;
        }
        Disconnect => return end.disconnect(),
        ExitUnread => end.wait_for_unread(late)?,
        _ => (),
    }
    Ok(Closed::Now)
}

fn y(end: &mut End, deal: &Deal) -> io::Result<Closed> {
    let late = deal.late as usize;
    match deal.way {
        Fin | Lingers | Exit | Killed => end.read_end()?,
        BothShutDown => {
            end.read_end()?;
            end.shutdown_write()?;
        }
        AbortTaken => {
            end.wait_for_close()?;
            end.take_reset()?;
        }
        AbortFull => end.read_until_error()?,
        HalfClose => {
            end.read_end()?;
            end.write(late)?;
        }
        HurriedClose | SilentClose => end.read_end()?,
        CloseUnderWrites => end.write_until_error(late, 64 * late)?,
        Unread | ExitUnread => {
            end.write(late)?;
            end.read_reset()?;
        }
        UnreadAfterFin => {
            end.write(late)?;
            end.shutdown_write()?;
            end.wait_for_close()?;
        }
        AbortRead | HurriedAbort | SilentAbort | Disconnect => end.read_reset()?,
        AbortWrite => {
            end.wait_for_close()?;
            end.write_error(libc::ECONNRESET)?;
            end.write_error(libc::EPIPE)?;
        }
        BothAbort | CloseMeetsAbort => end.linger0()?,
        AbortAfterShutdown => {
            end.read_end()?;
            end.linger0()?;
        }
        BrokenPipe | BrokenPipeQuiet | ShutdownBoth => {
            end.wait_for_fin()?;
            end.write(late)?;
            end.wait_for_close()?;
            if deal.way != BrokenPipeQuiet {
                end.write_error(libc::EPIPE)?;
            }
        }
        _ => (),
    }
    Ok(Closed::Now)
}
