//! The live tests: against the running kernel, hence as root, one at a time because they share that kernel, and with
//! the binary and the packages that a user would get.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::stat::{self, Mode, umask};

use super::{Session, second_chance, within, works};
use crate::{
    apt,
    cargo::Built,
    command::{self, say},
    dist, run,
};

/// The test target in tracer/Cargo.toml.
pub const TARGET: &str = "live";

const LIMIT: Duration = Duration::from_secs(20 * 60);
const LONG_LIMIT: Duration = Duration::from_secs(3 * 60 * 60);
/// For one test by itself.
const ALONE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What the tests drive and compare with. One that is missing is no failure here: the tests that need it say so.
const PACKAGES: &[&str] = &[
    "iproute2",
    "iptables",
    "nftables",
    "nginx-light",
    "haproxy",
    "gunicorn",
    "apache2-bin",
    "python3-requests",
    "python3-yaml",
    "nodejs",
    "golang-go",
    "golang-golang-x-net-dev",
    "curl",
    "jq",
    "logrotate",
    "systemd",
    "zsh",
    "fish",
    "bpftool",
    "procps",
    "tmux",
    "prometheus",
    "wrk",
    "docker.io",
    "lintian",
    "mmdebstrap",
    "python3-pip",
    "busybox-static",
    "gcc",
    "libc6-dev",
];

/// Asked by Debian's packages before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl Session<'_> {
    pub fn live(&mut self, programs: &[Built]) {
        if self.options.skip_live {
            self.tally.skip(TARGET, "left out by --skip-live");
            return;
        }
        if programs.is_empty() {
            return self.tally.fail(TARGET, "no such test program was built");
        }
        say("building tracer and its packages");
        let tested = match Tested::build() {
            Ok(tested) => tested,
            Err(error) => return self.tally.fail("building tracer", format!("{error:#}")),
        };
        self.repeat_packages(&tested);
        for program in programs {
            let Some(mut command) = as_root(program, &tested, self.options.long) else {
                self.skip_all(program);
                continue;
            };
            install_packages();
            let limit = if self.options.long { LONG_LIMIT } else { LIMIT };
            say(program.name());
            let (mut report, fault) = self.heard(limit, within(&mut command, program));
            match fault {
                Some(fault) => self.tally.fail(&program.name(), fault),
                None if self.is_ordinary() => second_chance::give(&mut report, |test| {
                    say(format!("{test} failed; once more, alone"));
                    let mut command = as_root(program, &tested, false)?;
                    command.args(["--exact", test]);
                    let (report, fault) = self.heard(ALONE_LIMIT, within(&mut command, program));
                    fault.is_none().then_some(report)
                }),
                None => {}
            }
            self.tally.add(&program.name(), report);
        }
    }

    /// Whoever asks for certain tests, or for the long ones, wants to see them fail.
    fn is_ordinary(&self) -> bool {
        let options = self.options;
        !options.strict && !options.long && options.filter.is_none()
    }

    /// Packing again gives the same, also for who keeps his files to himself.
    fn repeat_packages(&mut self, tested: &Tested) {
        const NAME: &str = "dist";
        let Some(packages) = &tested.packages else {
            return self.skip_step(NAME, "there are no packages");
        };
        if !self.wants(NAME) {
            return;
        }
        say("packing again");
        let again = packages.with_file_name("dist-again");
        let umask = umask(Mode::from_bits_truncate(0o077));
        let made = dist::make(&tested.tracer, &again);
        stat::umask(umask);
        let same = made.and_then(|()| Ok(dist::sums(packages)? == dist::sums(&again)?));
        match same {
            Ok(true) => {
                self.tally.pass(1);
                // It would only take room.
                let _ = fs::remove_dir_all(&again);
            }
            Ok(false) => self.tally.fail(
                NAME,
                format!("{} and {} differ", packages.display(), again.display()),
            ),
            Err(error) => self.tally.fail(NAME, format!("{error:#}")),
        }
    }

    fn skip_all(&mut self, program: &Built) {
        let names = match names(program) {
            Ok(names) => names,
            Err(error) => return self.tally.fail(&program.name(), format!("{error:#}")),
        };
        for name in names {
            if self.wants(&name) {
                let test = format!("{} {name}", program.name());
                self.tally
                    .skip(&test, "needs root, and there is no sudo without a password");
            }
        }
    }
}

/// What is tested.
struct Tested {
    tracer: PathBuf,
    /// Its packages, where they can be made.
    packages: Option<PathBuf>,
}

impl Tested {
    fn build() -> Result<Self> {
        if let Err(error) = dist::possible() {
            say(format!("testing without packages: {error:#}"));
            return Ok(Self {
                tracer: run::build()?,
                packages: None,
            });
        }
        let tracer = dist::build()?;
        let packages = dist::folder(&tracer)?;
        dist::make(&tracer, &packages)?;
        Ok(Self {
            tracer,
            packages: Some(packages),
        })
    }
}

/// The command that runs the tests with privilege, or `None` where there is none to be had.
fn as_root(program: &Built, tested: &Tested, long: bool) -> Option<Command> {
    let setting = |key: &str, value: &Path| {
        let mut setting = OsString::from(key);
        setting.push("=");
        setting.push(value);
        setting
    };
    let mut command = if command::is_root() {
        Command::new("env")
    } else if works(Command::new("sudo").args(["-n", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env"]);
        sudo
    } else {
        return None;
    };
    // Through env, because sudo drops the environment.
    command
        .arg(setting("TRACER_BIN", &tested.tracer))
        .arg(setting("CARGO_MANIFEST_DIR", &program.package));
    if let Some(packages) = &tested.packages {
        command.arg(setting("TRACER_DIST", packages));
    }
    if long {
        command.arg("LIVE_LONG=1");
    }
    command.arg(&program.file);
    Some(command)
}

fn names(program: &Built) -> Result<Vec<String>> {
    let list = command::read(Command::new(&program.file).args(["--list", "--format", "terse"]))
        .context("cannot list the live tests")?;
    Ok(list
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect())
}

fn install_packages() {
    if !command::is_root() || command::find("apt-get").is_none() {
        return;
    }
    let missing = match apt::missing(PACKAGES) {
        Ok(missing) if missing.is_empty() => return,
        Ok(missing) => missing,
        Err(error) => return say(format!("not installing what the live tests use: {error:#}")),
    };
    say(format!(
        "installing what the live tests use: {}",
        missing.join(" ")
    ));
    let _quiet = NoServices::start();
    if apt::install(&missing).is_ok() {
        return;
    }
    // One that cannot be had must not keep the others away.
    for package in missing {
        if let Err(error) = apt::install(&[package]) {
            say(format!("{error:#}"));
        }
    }
}

/// While this lives, installing a package starts no service: the tests want nginx, and nobody wants it on port 80.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn start() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        if Path::new(POLICY).exists() {
            return Self { ours: false };
        }
        let written = fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)));
        if let Err(error) = &written {
            say(format!(
                "services may be started by their packages: cannot write {POLICY}: {error}"
            ));
        }
        Self {
            ours: written.is_ok(),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            say(format!(
                "remove {POLICY} by hand, it keeps services from starting: {error}"
            ));
        }
    }
}
