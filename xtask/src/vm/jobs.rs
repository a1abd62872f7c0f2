//! Guests side by side, and the tests of a kernel divided among several.

use std::{num::NonZeroUsize, sync::Mutex, thread};

/// Every so manieth test is a guest's.
#[derive(Clone, Copy)]
pub struct Part {
    pub number: usize,
    pub of: usize,
}

impl Part {
    /// As many to each of `kernels` as `jobs` guests at once leave to it.
    pub fn all(kernels: usize, jobs: usize) -> impl Iterator<Item = Self> + Clone {
        let of = (jobs / kernels.max(1)).max(1);
        (0..of).map(move |number| Self { number, of })
    }
}

/// One a processor.
pub fn by_default() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Does all of them, in the order in which they are given; so do their results come.
pub fn side_by_side<A: Send, B: Send>(
    all: Vec<A>,
    jobs: usize,
    work: impl Fn(A) -> B + Sync,
) -> Vec<B> {
    let queue = Mutex::new(all.into_iter().enumerate());
    let next = || queue.lock().expect("taking one cannot panic").next();
    let worker = || {
        std::iter::from_fn(next)
            .map(|(place, one)| (place, work(one)))
            .collect::<Vec<_>>()
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("work does not panic"))
            .collect()
    });
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        for jobs in [1, 3] {
            let waits = vec![30, 20, 10, 0];
            let done = side_by_side(waits.clone(), jobs, |wait| {
                thread::sleep(std::time::Duration::from_millis(wait));
                wait
            });
            assert_eq!(done, waits, "{jobs} at once");
        }
    }

    #[test]
    fn a_kernel_alone_has_all_the_guests() {
        let parts = |kernels, jobs| Part::all(kernels, jobs).count();
        assert_eq!([parts(1, 4), parts(2, 4), parts(5, 2)], [4, 2, 1]);
    }
}
