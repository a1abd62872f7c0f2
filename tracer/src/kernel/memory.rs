//! What a flood has taken goes back to the kernel once it is over. The C library keeps what is freed below
//! something that is still in use, and a flood leaves its buffers there.

/// Gives back what is free.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no arguments that it could misuse; it takes the locks of the heap.
    unsafe {
        libc::malloc_trim(0);
    }
}
