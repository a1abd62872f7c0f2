//! A terminal in this process: what a key changes is seen the moment it is written, without another program between.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZero,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::pty::{Winsize, openpty};
use tracer::kernel::priority;

use super::PATIENCE;

const ROWS: NonZero<u16> = NonZero::new(30).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(100).unwrap();

pub struct Emulator {
    child: Child,
    keys: File,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

impl Emulator {
    /// Starts a program on it.
    pub fn start(command: &mut Command) -> Emulator {
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("a terminal");
        let side = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRACER_") {
                command.env_remove(name);
            }
        }
        let child = command
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .stdin(side(&pty.slave))
            .stdout(side(&pty.slave))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let screen = Arc::new((
            Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)),
            Condvar::new(),
        ));
        let mut output = File::from(pty.master.try_clone().expect("a descriptor"));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            // As who looks at a terminal would have it.
            priority::raise();
            let mut bytes = [0; 1 << 16];
            // Until nobody writes to it any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let (parser, changed) = &*shown;
                parser
                    .lock()
                    .expect("not poisoned")
                    .process(&bytes[..count]);
                changed.notify_all();
            }
        });
        Emulator {
            child,
            keys: File::from(pty.master),
            screen,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn press(&self, keys: &str) {
        let mut to = &self.keys;
        to.write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// The screen as soon as it is so.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let (parser, changed) = &*self.screen;
        let until = Instant::now() + PATIENCE;
        let mut parser = parser.lock().expect("not poisoned");
        loop {
            let screen = parser.screen().contents();
            if is_so(&screen) {
                return screen;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO, "not {what}:\n{screen}");
            parser = changed.wait_timeout(parser, left).expect("not poisoned").0;
        }
    }

    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Until it ends by itself, with what status.
    pub fn end(mut self) -> Option<i32> {
        self.child.wait().expect("waiting for a program").code()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
