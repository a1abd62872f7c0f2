//! The modules that tests need and a guest's kernel does not have built in.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::command::shown;

/// What the tests use of a kernel. One that it lacks is built in, or missed by the test that needs it.
const NEEDED: &[&str] = &[
    "veth",
    "bridge",
    "dummy",
    "tcp_diag",
    "mptcp_diag",
    "sch_tbf",
    "sch_netem",
    "nf_tables",
    "nft_ct",
    "nft_counter",
    "nft_limit",
    "nft_nat",
    "nft_masq",
    "nft_numgen",
    "nft_chain_nat",
    "nft_reject_inet",
    "nft_compat",
    "xt_mark",
    "xt_nat",
    "xt_statistic",
    "xt_tcpudp",
    "xt_MASQUERADE",
    "xt_REDIRECT",
];

/// Copies them, unpacked, in the order in which they have to be loaded: `NUMBER-NAME.ko`.
pub fn copy(modules: &Path, to: &Path) -> Result<()> {
    let list = modules.join("modules.dep");
    let text = fs::read_to_string(&list)
        .with_context(|| format!("cannot read {}; `depmod` makes it", list.display()))?;
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for (number, file) in in_order(&text, NEEDED).into_iter().enumerate() {
        let name = format!("{number:02}-{}.ko", name_of(file));
        unpack(&modules.join(file), &to.join(name))?;
    }
    Ok(())
}

/// The files of modules and of what they depend on, dependencies first.
fn in_order<'a>(dependencies: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let mut order: Vec<&str> = Vec::new();
    for wanted in wanted {
        let Some((file, rest)) = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(file, _)| name_of(file) == *wanted)
        else {
            continue;
        };
        // What a dependency needs comes after it in its line.
        let needed: Vec<&str> = rest.split_whitespace().collect();
        for file in needed.into_iter().rev().chain([file]) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    order
}

/// `veth` of `kernel/drivers/net/veth.ko.xz`.
fn name_of(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name)
}

fn unpack(from: &Path, to: &Path) -> Result<()> {
    let program = match from.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => {
            fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
            return Ok(());
        }
    };
    let file = fs::File::create(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut command = Command::new(program);
    command.args(["-q", "-d", "-c"]).arg(from).stdout(file);
    let status = command
        .stderr(Stdio::inherit())
        .status()
        .with_context(|| format!("cannot start {}", shown(&command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(&command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let dependencies = "kernel/net/nft_ct.ko.xz: kernel/net/nf_tables.ko.xz kernel/net/nfnetlink.ko.xz\n\
             kernel/net/nf_tables.ko.xz: kernel/net/nfnetlink.ko.xz\n\
             kernel/net/nfnetlink.ko.xz:\nkernel/drivers/veth.ko.xz:\n";
        let order = in_order(dependencies, &["veth", "absent", "nf_tables", "nft_ct"]);
        let names: Vec<_> = order.into_iter().map(name_of).collect();
        assert_eq!(names, ["veth", "nfnetlink", "nf_tables", "nft_ct"]);
    }
}
