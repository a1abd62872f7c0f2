//! Every command of README.md and docs/ does what it should: it succeeds, and prints something unless it writes a file.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::symlink, process::CommandExt},
    path::Path,
    process::Stdio,
};

use crate::{
    Test,
    doc_blocks::{Block, Order, blocks},
    lab::{folder::Folder, needs::Need, netns::Netns, tracer::binary, unit::deploy},
};

pub fn tests() -> Vec<Test> {
    let needs = &[
        Need::Program("ip"),
        Need::Program("jq"),
        Need::Program("python3"),
    ];
    // A guest of `cargo xtask vm` has no docs.
    if !Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .is_dir()
    {
        return Vec::new();
    }
    let mut of_doc: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    for block in blocks() {
        if matches!(block.order, Order::Run | Order::RunToItsEnd) {
            of_doc.entry(block.doc.clone()).or_default().push(block);
        }
    }
    of_doc
        .into_iter()
        .map(|(doc, blocks)| Test::new(format!("commands::{doc}"), needs, move || run(&blocks)))
        .collect()
}

fn run(blocks: &[Block]) {
    let folder = Folder::new();
    prepare(&folder);
    // What the commands do to ports and connections is nobody else's business.
    let netns = Netns::new();
    netns.run("ip link set lo up");
    for block in blocks {
        let parts = block
            .text
            .split("\n\n")
            .filter(|part| !part.trim().is_empty());
        match block.order {
            // What is begun in one part may be waited for in another.
            Order::RunToItsEnd => run_part(&netns, &folder, block, &block.text),
            _ => parts.for_each(|part| run_part(&netns, &folder, block, part)),
        }
    }
}

fn run_part(netns: &Netns, folder: &Folder, block: &Block, part: &str) {
    let place = format!("{}:{}:\n{part}", block.doc, block.line);
    let mut bash = netns.command("bash");
    let path = std::env::var("PATH").expect("a PATH");
    bash.args(["-e", "-o", "pipefail", "-c", part])
        .env("PATH", format!("{}:{path}", folder.file("bin").display()))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRACER_") {
            bash.env_remove(name);
        }
    }
    if block.order == Order::Run {
        bash.env("TRACER_FOR", "200ms");
    }
    let output = bash.output().expect("bash");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}\n{stdout:.2000}\n{stderr}");
    assert!(stderr.is_empty(), "{place}\n{stderr}");
    let writes_a_file = part.contains("> ") || part.contains("--output-file");
    assert!(
        writes_a_file || !stdout.is_empty(),
        "{place}\nprints nothing"
    );
    // README's broken pipe.
    if part.contains("'second'") {
        for said in ["[Errno 32] Broken pipe", "\"reason\": \"fin_peer_rst\""] {
            assert!(
                stdout.contains(said),
                "{place}\n{said} is not in\n{stdout:.4000}"
            );
        }
    }
}

/// What a reader of the docs has at hand: tracer, recordings, and the files of deploy/.
fn prepare(folder: &Folder) {
    let bin = folder.file("bin");
    fs::create_dir(&bin).expect("the folder is ours");
    symlink(binary(), bin.join("tracer")).expect("the folder is ours");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |name: &str| fs::read_to_string(tests.join(name)).expect("a recording");
    let (pipe, shop) = (
        read("recordings/broken_pipe.ndjson"),
        read("recordings/shop.ndjson"),
    );
    let mut all = pipe.clone() + &shop;
    for entry in fs::read_dir(tests.join("recordings/v1")).expect("a folder") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|end| end == "ndjson") {
            all += &fs::read_to_string(file).expect("a recording");
        }
    }
    for (name, text) in [
        ("events.ndjson", &all),
        ("ends.ndjson", &shop),
        ("node-a.ndjson", &pipe),
        ("node-b.ndjson", &shop),
    ] {
        fs::write(folder.file(name), text).expect("the folder is ours");
    }
    symlink(deploy(""), folder.file("deploy")).expect("the folder is ours");
}
