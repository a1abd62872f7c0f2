//! Storms: processes that live for some connections each, and whose pids come again and again.

use std::{io, os::unix::process::CommandExt as _, process::Command, thread, time::Duration};

use nix::{
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};

use super::{
    client::deal,
    ways::{DEADLY, Deal},
    worker::{Client, Dice, Kind, Task, Worker, die, leave, spawn},
};

/// At a time.
const PROCESSES: usize = 3;

impl Worker {
    pub fn storm(mut self, client: &Client, pids: &[i32]) {
        let mut alive = 0;
        for number in 0..client.count {
            while alive >= PROCESSES {
                alive -= usize::from(reaped(None));
            }
            while reaped(Some(WaitPidFlag::WNOHANG)) {
                alive -= 1;
            }
            if spawn(pids, number as usize).expect("a process") > 0 {
                alive += 1;
                if client.pause_us > 0 {
                    thread::sleep(Duration::from_micros(client.pause_us));
                }
                continue;
            }
            let number = client.first + number;
            self.become_child(&name("tr", number));
            match &client.image {
                // Its own image, as a shell's children have.
                Some(image) if number.is_multiple_of(8) => {
                    let task = Task {
                        kind: Kind::Short {
                            client: client.clone(),
                            number,
                        },
                        comm: name("tx", number),
                        ..self.task.clone()
                    };
                    let mut command = Command::new(image);
                    task.give(&mut command);
                    self.fault("exec", &command.exec());
                }
                _ => self.short(client, number),
            }
            leave(0);
        }
        while reaped(None) {}
    }

    /// The life of a short process: some connections, of which the last may end with it.
    pub fn short(&self, client: &Client, number: u64) {
        let mut dice = Dice(self.task.seed ^ number << 20);
        let lived = (|| {
            for turn in 0..dice.roll(3) {
                let number = number | (turn + 1) << 40;
                self.one(client, &mut dice, number, 0)?;
            }
            let way = dice.pick(&DEADLY);
            let mut entries = Vec::new();
            let mut held = Vec::new();
            let mut last = None;
            for turn in 0..dice.roll(4) {
                let deal = Deal {
                    x_is_client: turn == 0 || dice.roll(3) > 0,
                    ..deal(&mut dice, number | (turn + 4) << 40, way)
                };
                let Some(mut end) = self.dial(client, &deal, None)? else {
                    continue;
                };
                self.speak(&mut end, &deal)?;
                if deal.x_is_client {
                    entries.push(end.entry);
                    held.push(end.socket);
                    last.get_or_insert(deal);
                } else {
                    self.finish(end, &deal);
                }
            }
            match last {
                Some(deal) => die(self, entries, &deal),
                None => Ok::<(), io::Error>(()),
            }
        })();
        if let Err(error) = lived {
            self.fault(&format!("process {number}"), &error);
        }
    }
}

/// Whether a child has ended.
fn reaped(flags: Option<WaitPidFlag>) -> bool {
    matches!(
        waitpid(None::<Pid>, flags),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
    )
}

/// Of the process that has the connections from this number on.
fn name(kind: &str, number: u64) -> String {
    let (seed, place, count) = (number >> 44 & 0xfff, number >> 32 & 0xff, number & 0xffff);
    format!("{kind}-{seed:x}-{place:x}-{count:x}")
}
