//! `tracer gen completions`, loaded by the shells that they are for.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    Test,
    lab::{folder::Folder, needs::Need, tracer::command},
};

pub fn tests() -> Vec<Test> {
    let of = |shell: &'static str, run: fn()| {
        Test::new(
            format!("completions::{shell}"),
            &[Need::Program(shell)],
            run,
        )
    };
    vec![of("bash", bash), of("zsh", zsh), of("fish", fish)]
}

fn written(folder: &Folder, shell: &str, name: &str) -> PathBuf {
    let output = command(&["gen", "completions", shell]).output();
    let output = output.expect("the tracer");
    assert!(output.status.success(), "{output:?}");
    let file = folder.file(name);
    fs::write(&file, output.stdout).expect("the folder is ours");
    file
}

/// What a shell prints, without a complaint.
fn said(shell: &str, args: &[&str], script: &str, folder: &Folder) -> String {
    let output = Command::new(shell)
        .args(args)
        .args(["-c", script])
        .env("HOME", folder.path())
        .env("XDG_CONFIG_HOME", folder.path())
        .env("XDG_DATA_HOME", folder.path())
        .output()
        .expect("a need");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn bash() {
    let folder = Folder::new();
    let file = written(&folder, "bash", "tracer");
    let script = format!(
        "set -e; source {}; complete -p tracer
        ask() {{ COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
                 _tracer tracer \"${{@: -1}}\" \"${{@: -2:1}}\"; echo \"${{COMPREPLY[@]}}\"; }}
        ask tracer --rea; ask tracer --reason fin_pe; ask tracer rep",
        file.display()
    );
    let said = said("bash", &["--norc"], &script, &folder);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("-F _tracer"), "{said}");
    assert_eq!(lines[1..], ["--reason", "fin_peer fin_peer_rst", "replay"]);
}

fn zsh() {
    let folder = Folder::new();
    written(&folder, "zsh", "_tracer");
    let script = format!(
        "fpath=({} $fpath); autoload -U compinit; compinit -u -D; autoload +X _tracer; \
         print $_comps[tracer]; print $functions[_tracer]",
        folder.path().display()
    );
    let said = said("zsh", &["-f"], &script, &folder);
    assert!(said.starts_with("_tracer\n"), "{said:.300}");
    for part in ["--reason", "fin_peer_rst", "replay"] {
        assert!(said.contains(part), "{part}");
    }
}

fn fish() {
    let folder = Folder::new();
    let file = written(&folder, "fish", "tracer.fish");
    let script = format!(
        "source {}; complete -C 'tracer --rea'; complete -C 'tracer --reason fin_pe'; \
         complete -C 'tracer rep'",
        file.display()
    );
    let said = said("fish", &["--no-config"], &script, &folder);
    let words: Vec<_> = said
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(words, ["--reason", "fin_peer", "fin_peer_rst", "replay"]);
}
