fn main() -> anyhow::Result<()> {
    let t0 = tracer::kernel::clock::monotonic_ns();
    let bytes = std::fs::read(tracer::kernel::layout::VMLINUX)?;
    let btf = tracer::kernel::btf::Btf::parse(&bytes)?;
    let layout = tracer::kernel::layout::Layout::resolve(&btf)?;
    let t1 = tracer::kernel::clock::monotonic_ns();
    eprintln!("{layout:?} {}us", (t1 - t0) / 1000);
    eprintln!("{:?}", tracer::kernel::facts::Facts::read()?);
    let mut a = tracer::kernel::attach::attach(
        &layout,
        tracer::kernel::attach::Sizes {
            ring_bytes: 16 << 20,
            max_connections: 131072,
        },
    )?;
    let t2 = tracer::kernel::clock::monotonic_ns();
    eprintln!("{:#?} {}us", a.hooks, (t2 - t1) / 1000);
    loop {
        while let Some(item) = a.ring.next() {
            let bytes: &[u8] = &item;
            if bytes.len() == std::mem::size_of::<tracer_common::record::Record>() {
                let r: tracer_common::record::Record =
                    unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
                eprintln!("{r:?}");
            } else {
                eprintln!("{} bytes", bytes.len());
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
