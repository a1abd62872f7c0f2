//! The only file with pointer arithmetic.

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::offsets::ABSENT;

use crate::globals::may_probe;

/// Of a word in memory.
const FIRST_BYTE: usize = if cfg!(target_endian = "little") { 7 } else { 0 };

/// An address in the kernel, and how what is there may be read. Which of the two it is is a constant to
/// the compiler, as everything is inlined into the program that it came from.
#[derive(Clone, Copy)]
pub struct Pointer {
    to: *const c_void,
    typed: bool,
}

impl Pointer {
    /// Whose type the verifier knows (arguments of tp_btf, fentry and fexit programs, and what is loaded
    /// from them): read by plain loads.
    #[inline(always)]
    pub fn typed(to: *const c_void) -> Self {
        Pointer { to, typed: true }
    }

    /// Of which the verifier knows nothing (arguments of raw tracepoints and kprobes): read by [`probe`].
    #[inline(always)]
    pub fn untyped(to: *const c_void) -> Self {
        Pointer { to, typed: false }
    }

    #[inline(always)]
    pub fn is_typed(self) -> bool {
        self.typed
    }

    #[inline(always)]
    pub fn to(self) -> *const c_void {
        self.to
    }

    /// The address as a number to calculate with, which the verifier does not allow with a pointer. One that
    /// was written over in part on the stack is none to it any more; the first byte of an address in the
    /// kernel is 0xff.
    #[inline(always)]
    pub fn number(self) -> u64 {
        if !self.typed {
            return self.to as u64;
        }
        let mut word = MaybeUninit::<*const c_void>::uninit();
        let word = word.as_mut_ptr();
        // SAFETY: within the word, which is written first.
        unsafe {
            word.write_volatile(self.to);
            word.cast::<u8>().add(FIRST_BYTE).write_volatile(0xff);
            word.cast::<u64>().read_volatile()
        }
    }

    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.to.is_null()
    }

    /// The field at `offset`; `default` when this kernel lacks it. What cannot be read is 0, or
    /// `default` without types.
    #[inline(always)]
    pub fn get<T: Copy>(self, offset: u16, default: T) -> T {
        if offset == ABSENT {
            return default;
        }
        if !self.typed {
            return probe(self.to, offset).unwrap_or(default);
        }
        // SAFETY: the verifier checks type and bounds of every such load.
        unsafe { ptr::read_volatile(self.to.byte_add(offset as usize).cast::<T>()) }
    }

    /// [`Pointer::get`] for a pointer, to be read in the same way.
    #[inline(always)]
    pub fn follow(self, offset: u16) -> Self {
        let to = if self.typed {
            self.get(offset, ptr::null())
        } else {
            self.get(offset, 0u64) as *const c_void
        };
        Pointer {
            to,
            typed: self.typed,
        }
    }
}

/// Checked read at `base + offset`, for addresses that the verifier knows nothing of.
/// `None` when the field is absent, the address faults, or such reads are not allowed.
#[inline(always)]
pub fn probe<T: Copy>(base: *const c_void, offset: u16) -> Option<T> {
    if offset == ABSENT || base.is_null() || !may_probe() {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes size_of::<T>() bytes or fails.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.byte_add(offset as usize),
        )
    };
    if failed != 0 {
        return None;
    }
    // SAFETY: written above; T is a plain integer or array wherever this is called.
    Some(unsafe { value.assume_init() })
}

/// [`probe`] at a run-time distance from `base`.
#[inline(always)]
pub fn probe_at<T: Copy>(base: *const c_void, bytes: usize) -> Option<T> {
    if base.is_null() {
        return None;
    }
    probe(base.wrapping_byte_add(bytes), 0)
}

/// [`probe`] into a place, without a copy on the stack; zeroes where it cannot be read.
#[inline(always)]
pub fn probe_into<const WORDS: usize>(to: *mut [u64; WORDS], base: *const c_void, offset: u16) {
    if offset != ABSENT && !base.is_null() && may_probe() {
        // SAFETY: the helper writes WORDS * 8 bytes, or zeroes them if it fails.
        unsafe {
            bpf_probe_read_kernel(to.cast(), WORDS as u32 * 8, base.byte_add(offset as usize));
        }
    } else {
        for word in 0..WORDS {
            // SAFETY: within `to`.
            unsafe { to.cast::<u64>().add(word).write_volatile(0) };
        }
    }
}

/// Copies a struct of whole words. A plain assignment of more than a few words becomes a call of
/// memcpy or memset, which on this target is a loop over bytes.
#[inline(always)]
pub fn copy<T: Copy>(to: *mut T, from: *const T) {
    let (to, from) = (to.cast::<u64>(), from.cast::<u64>());
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: both point at a T of 8-byte alignment and a multiple of 8 bytes (assert_size!).
        unsafe { to.add(word).write_volatile(from.add(word).read()) };
        word += 1;
    }
}
