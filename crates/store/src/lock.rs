//! The lock around a shard.
//!
//! Held for tens of nanoseconds, by one of a few threads, and there are many of them: taking it
//! is one atomic exchange and giving it back a plain store, half the cost of a lock that others
//! can sleep on. A thread that finds it taken spins for a while and then lets others run, since
//! the holder may be waiting for this very processor.
//! docs/decisions/010-store-concurrency.md has the figures.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Looks at a taken lock before others get the processor.
const SPINS: u32 = 100;

/// Turns given to other threads before this one sleeps in between.
const YIELDS: u32 = 50;

/// On cache lines of its own, so that neighbours do not disturb each other.
#[repr(align(128))]
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    inner: UnsafeCell<T>,
}

// SAFETY: `taken` lets one thread at a time to `inner` (`lock` and `try_lock` are the only ways
// to a `Guard`), so sharing the lock only moves `T` between threads.
unsafe impl<T: Send> Sync for Lock<T> {}

/// Access to what a [`Lock`] protects, until dropped.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: Sync> Sync for Guard<'_, T> {}

impl<T> Lock<T> {
    pub(crate) fn new(inner: T) -> Lock<T> {
        Lock { taken: AtomicBool::new(false), inner: UnsafeCell::new(inner) }
    }

    /// Waits until it is free, and takes it.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    /// Takes it if it is free.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let was = self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        was.is_ok().then(|| Guard { lock: self })
    }

    #[cold]
    fn wait(&self) -> Guard<'_, T> {
        let mut looks = 0u32;
        loop {
            if !self.taken.load(Ordering::Relaxed)
                && let Some(guard) = self.try_lock()
            {
                return guard;
            }
            looks = looks.saturating_add(1);
            if looks < SPINS {
                std::hint::spin_loop();
            } else if looks < SPINS + YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard exists, so `taken` is set by this thread alone (`try_lock`).
        unsafe { &*self.lock.inner.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe { &mut *self.lock.inner.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn one_thread_at_a_time_gets_in() {
        let lock = Arc::new(Lock::new((0u64, 0u64)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let lock = Arc::clone(&lock);
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        let mut pair = lock.lock();
                        pair.0 += 1;
                        assert_eq!(pair.0, pair.1 + 1);
                        pair.1 += 1;
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*lock.lock(), (80_000, 80_000));
    }

    #[test]
    fn a_taken_lock_is_not_taken_twice() {
        let lock = Lock::new(1);
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert!(lock.try_lock().is_some());
    }
}
