//! The report, as advice to a person and as data.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::kernel::{
    attach::HookStatus,
    surroundings::{Obstacle, Surroundings},
};

pub struct Report {
    pub version: &'static str,
    pub kernel: String,
    pub surroundings: Surroundings,
    /// Why tracing is impossible.
    pub obstacle: Option<Obstacle>,
    pub hooks: Vec<Hook>,
    pub programs: Vec<Program>,
    /// From the first map to the last hook.
    pub attach_ms: u64,
}

pub struct Hook {
    pub signal: &'static str,
    pub hook: String,
    /// Why it is not attached.
    pub error: Option<String>,
    /// Better ones, and why they are not.
    pub instead_of: Option<String>,
    /// What cannot be seen.
    pub blind: Option<&'static str>,
}

pub struct Program {
    pub name: String,
    /// What the verifier went through; `None` before 5.16.
    pub verified_instructions: Option<u64>,
}

impl From<&HookStatus> for Hook {
    fn from(status: &HookStatus) -> Self {
        Hook {
            signal: status.signal,
            hook: status.hook.clone(),
            error: status.error.clone(),
            instead_of: status.instead_of.clone(),
            blind: status.blind,
        }
    }
}

impl Report {
    fn blind(&self) -> impl Iterator<Item = &'static str> {
        let of_hooks = self.hooks.iter().filter_map(|hook| hook.blind);
        of_hooks.chain(self.surroundings.blind())
    }

    /// For a person: the answer first, then what it rests on.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "tracer {} on Linux {}\n", self.version, self.kernel)?;
        match (&self.obstacle, self.blind().count()) {
            (Some(Obstacle { what, fix }), _) => {
                let what = short(what);
                writeln!(out, "Tracing is impossible: {what}.\nTo fix it: {fix}.")?;
            }
            (None, 0) => writeln!(out, "Tracing works, and nothing is out of sight.")?,
            (None, _) => {
                writeln!(out, "Tracing works, but this cannot be seen:")?;
                for blind in self.blind() {
                    writeln!(out, "  {blind}")?;
                }
            }
        }
        writeln!(out)?;
        let here = |is: bool| if is { "yes" } else { "no" };
        let missing = &self.surroundings.missing_capabilities;
        let capabilities = if missing.is_empty() {
            "yes".to_owned()
        } else {
            format!("no, {} is missing", missing.join(" and "))
        };
        writeln!(out, "allowed to trace    {capabilities}")?;
        writeln!(
            out,
            "types of the kernel {}",
            here(self.surroundings.has_btf)
        )?;
        writeln!(out, "lockdown            {}", self.lockdown())?;
        writeln!(
            out,
            "pids of the node    {}",
            here(self.surroundings.has_node_pids)
        )?;
        if self.hooks.is_empty() {
            return Ok(());
        }
        writeln!(out, "time to attach      {} ms\n", self.attach_ms)?;
        let width = self.hooks.iter().map(|hook| hook.signal.len()).max();
        let width = width.unwrap_or(0);
        for hook in &self.hooks {
            match &hook.error {
                None => writeln!(out, "{:width$}  {}", hook.signal, hook.hook)?,
                Some(error) => writeln!(
                    out,
                    "{:width$}  not seen: {}: {}",
                    hook.signal,
                    hook.hook,
                    short(error)
                )?,
            }
            if let Some(instead_of) = &hook.instead_of {
                writeln!(out, "{:width$}  instead of {}", "", short(instead_of))?;
            }
        }
        Ok(())
    }

    fn lockdown(&self) -> &'static str {
        if self.surroundings.may_probe {
            let mode = self.surroundings.lockdown.as_str();
            return mode.unwrap_or("none, or not to be seen here");
        }
        "confidentiality: programs may not read what their types do not reach; \
         boot with lockdown=integrity to see it all"
    }

    /// For programs: one object.
    pub fn json(&self) -> Value {
        let hooks: Vec<Value> = self
            .hooks
            .iter()
            .map(|hook| {
                json!({
                    "signal": hook.signal,
                    "hook": hook.hook,
                    "attached": hook.error.is_none(),
                    "error": hook.error,
                    "instead_of": hook.instead_of,
                    "blind": hook.blind,
                })
            })
            .collect();
        let programs: Vec<Value> = self
            .programs
            .iter()
            .map(|program| {
                json!({
                    "name": program.name,
                    "verified_instructions": program.verified_instructions,
                })
            })
            .collect();
        json!({
            "version": self.version,
            "kernel": self.kernel,
            "possible": self.obstacle.is_none(),
            "obstacle": self.obstacle.as_ref().map(|obstacle| &obstacle.what),
            "fix": self.obstacle.as_ref().map(|obstacle| &obstacle.fix),
            "missing_capabilities": self.surroundings.missing_capabilities,
            "btf": self.surroundings.has_btf,
            "lockdown": self.surroundings.lockdown.as_str(),
            "may_probe": self.surroundings.may_probe,
            "node_pids": self.surroundings.has_node_pids,
            "attach_ms": self.attach_ms,
            "hooks": hooks,
            "blind": self.blind().collect::<Vec<_>>(),
            "programs": programs,
        })
    }
}

/// A verifier's log is many lines; JSON has them all.
pub fn short(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.split(" Verifier output: ").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::surroundings::Lockdown;

    fn hook(signal: &'static str, error: Option<&str>) -> Hook {
        Hook {
            signal,
            hook: format!("tp_btf:{signal}"),
            error: error.map(str::to_owned),
            instead_of: None,
            blind: error.map(|_| "what it tells"),
        }
    }

    fn report(hooks: Vec<Hook>) -> Report {
        Report {
            version: "1.2.3",
            kernel: "6.1.0".to_owned(),
            surroundings: Surroundings {
                missing_capabilities: Vec::new(),
                open_files: 1_024,
                has_sysfs: true,
                has_btf: true,
                lockdown: Lockdown::Integrity,
                may_probe: true,
                has_node_pids: true,
            },
            obstacle: None,
            hooks,
            programs: Vec::new(),
            attach_ms: 12,
        }
    }

    #[test]
    fn a_kernel_that_offers_all_is_told_so() {
        let report = report(vec![hook("state", None)]);
        let text = report.text();
        assert!(text.contains("nothing is out of sight"), "{text}");
        assert!(text.contains("state  tp_btf:state\n"), "{text}");
        assert_eq!(report.json()["possible"], true);
    }

    #[test]
    fn what_is_blind_comes_first_and_its_reason_with_the_hook() {
        let mut other = hook("accept", None);
        other.instead_of = Some("tp_btf:a (this kernel has no such tracepoint)".to_owned());
        let hooks = vec![
            hook("io", Some("refused. Verifier output: R1\ninvalid")),
            other,
        ];
        let report = report(hooks);
        let text = report.text();
        assert!(
            text.contains("cannot be seen:\n  what it tells\n"),
            "{text}"
        );
        assert!(
            text.contains("io      not seen: tp_btf:io: refused.\n"),
            "{text}"
        );
        assert!(
            text.contains("        instead of tp_btf:a (this kernel"),
            "{text}"
        );
        let json = report.json();
        assert_eq!(
            json["hooks"][0]["error"],
            "refused. Verifier output: R1\ninvalid"
        );
        assert_eq!(json["blind"], json!(["what it tells"]));
    }

    #[test]
    fn what_is_impossible_has_a_cure() {
        let mut report = report(Vec::new());
        report.obstacle = Some(Obstacle {
            what: "no types".to_owned(),
            fix: "boot another kernel".to_owned(),
        });
        let text = report.text();
        let answer = "Tracing is impossible: no types.\nTo fix it: boot another kernel.\n";
        assert!(text.contains(answer), "{text}");
        let json = report.json();
        assert_eq!(json["possible"], false);
        assert_eq!(json["fix"], "boot another kernel");
    }
}
