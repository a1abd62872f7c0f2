//! No command is written in README.md and docs/ that nothing runs.

use crate::doc_blocks::{Order, blocks, in_text};

/// The live tests run them.
#[test]
fn every_block_of_commands_is_run_or_excused() {
    let blocks = blocks();
    let faults: Vec<_> = blocks
        .iter()
        .filter_map(|block| match &block.order {
            Order::Fault(what) => Some(format!("{}:{}: {what}", block.doc, block.line)),
            _ => None,
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let run = blocks
        .iter()
        .filter(|block| matches!(block.order, Order::Run | Order::RunToItsEnd))
        .filter(|block| !block.text.is_empty());
    assert!(run.count() >= 5);
}

#[test]
fn a_block_is_run_left_or_a_fault() {
    let text = "a\n```sh\nb\n\nc\n```\n<!-- not run: it takes a year -->\n```sh\n```\n\n<!-- not run: no -->\n\
                ```sh\n```\n<!-- run to its end -->\n\n```sh\n```\n```\n```\n```json\n```\n";
    let found = in_text("a.md", text);
    assert_eq!((found[0].line, found[0].text.as_str()), (2, "b\n\nc\n"));
    let orders: Vec<_> = found.iter().map(|block| &block.order).collect();
    assert!(matches!(
        orders[..],
        [
            Order::Run,
            Order::Leave,
            Order::Fault(_),
            Order::RunToItsEnd,
            Order::Fault(_),
            Order::Leave
        ]
    ));
}
