//! `tracer demo`.

/// Breaks a pipe on loopback and explains what was seen.
pub fn demo() -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
