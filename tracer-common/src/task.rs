//! A process as the kernel knows it at the moment of an event in task context.

/// Length of `task_struct.comm`.
pub const COMM_LEN: usize = 16;

/// `task_struct.flags`: exiting (`do_exit` has begun).
pub const PF_EXITING: u32 = 0x0000_0004;
/// `task_struct.flags`: killed by a signal.
pub const PF_SIGNALED: u32 = 0x0000_0400;
/// `task_struct.flags`: a kernel thread, which is never owner or closer.
pub const PF_KTHREAD: u32 = 0x0020_0000;

/// The acting process. `tgid` 0: none known.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// `start_boottime` of the thread-group leader, ns: with `tgid` it names a process for good.
    pub start_ns: u64,
    /// Process id, in the initial pid namespace.
    pub tgid: u32,
    /// Thread that acted, in the initial pid namespace.
    pub tid: u32,
    /// `comm` of the thread-group leader, NUL-padded bytes from outside. Words, so that the kernel
    /// side copies it without a loop over bytes.
    pub comm: [u64; COMM_LEN / 8],
    /// `task_struct.flags` of the acting thread (`PF_*`).
    pub flags: u32,
    /// `task_struct.exit_code` of the acting thread once it exits: status << 8 | signal.
    pub exit_code: u32,
}

impl Task {
    pub const NONE: Task = Task {
        start_ns: 0,
        tgid: 0,
        tid: 0,
        comm: [0; COMM_LEN / 8],
        flags: 0,
        exit_code: 0,
    };

    #[inline(always)]
    pub const fn is_known(&self) -> bool {
        self.tgid != 0
    }

    /// The bytes of `comm`.
    pub const fn comm_bytes(&self) -> [u8; COMM_LEN] {
        let [low, high] = [self.comm[0].to_ne_bytes(), self.comm[1].to_ne_bytes()];
        let mut bytes = [0; COMM_LEN];
        let mut at = 0;
        while at < 8 {
            bytes[at] = low[at];
            bytes[at + 8] = high[at];
            at += 1;
        }
        bytes
    }
}

crate::assert_size!(Task, 40);
