//! The reader of the ring buffer must not starve: on a node whose cores are all busy, what it does
//! not read in time is lost.

/// A few microseconds of work per connection, now rather than later.
const NICE: i32 = -10;

/// Raises the calling thread's priority. Not being allowed to is no fault: the ring buffer is sized
/// to bear a wait.
pub fn raise() {
    // SAFETY: plain integers; 0 is the calling thread.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0;
    if failed {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "the priority stays as it is");
    }
}
