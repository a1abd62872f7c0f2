//! The kernel's types, cut short or lying: a kernel that lacks something is told so, and what is believed of it is
//! bounded.

use tracer::kernel::{
    btf::Btf,
    hooks::{Family, SIGNALS},
    layout::Layout,
};

const JIFFY_NS: u64 = 4_000_000;

pub fn run(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    if let Ok(layout) = Layout::resolve(&btf, JIFFY_NS) {
        for number in 0..=256 {
            let _ = layout.rst_reasons.name(number);
            let _ = layout.rst_reasons.cause(number);
        }
    }
    for family in [None, Some(Family::Fentry), Some(Family::Kprobe)] {
        for signal in &SIGNALS {
            for way in signal.ways(family) {
                let absent = way.absence(&btf);
                let lacks = |part: &tracer::kernel::hooks::Part| part.at.absence(&btf).is_some();
                assert_eq!(
                    absent.is_some(),
                    way.needed(&btf).any(lacks),
                    "{}",
                    signal.name
                );
            }
        }
    }
}
