//! Messages from other threads to a worker, and the bell that makes its engine look.
//!
//! This is the slow lane: new connections, new configuration, resolver answers. No request passes
//! through here, so a mutex around a queue is the right tool. Wake-ups are coalesced: however often
//! the bell rings before the worker looks, the engine reports one `Event::Mail`.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Makes an engine's `poll` return with `Event::Mail`, from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Arc<Bell>,
}

/// What a [`Waker`] and its engine share.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    /// Missing in a simulated world, where nobody sleeps in the kernel.
    eventfd: Option<OwnedFd>,
}

/// The writing end of a mailbox; cheap to clone, usable from any thread.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    waker: Waker,
}

/// The reading end of a mailbox, owned by a worker.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Messages already taken out of the shared queue: one lock serves a whole batch.
    batch: VecDeque<T>,
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<VecDeque<T>>,
}

/// Makes a mailbox whose sender rings `waker` for every message.
///
/// The queue has no limit of its own: senders are the control side and the acceptor, which bound
/// what they send (connections by the connection limit, the rest by being rare).
pub fn mailbox<T>(waker: Waker) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { queue: Mutex::new(VecDeque::new()) });
    (Sender { shared: shared.clone(), waker }, Receiver { shared, batch: VecDeque::new() })
}

impl Waker {
    pub(crate) fn new(bell: Arc<Bell>) -> Waker {
        Waker { bell }
    }

    /// Makes the engine report `Event::Mail` in its current or next `poll`. Never blocks.
    pub fn wake(&self) {
        if self.bell.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(eventfd) = &self.bell.eventfd {
            // Writing one can only fail when the counter is full, and then the engine is awake.
            let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
        }
    }
}

impl Bell {
    pub(crate) fn new(eventfd: Option<OwnedFd>) -> Bell {
        Bell { rung: AtomicBool::new(false), eventfd }
    }

    pub(crate) fn eventfd(&self) -> Option<&OwnedFd> {
        self.eventfd.as_ref()
    }

    /// Whether the bell rang since the last call. Must be asked before the mail is read, so that a
    /// message sent meanwhile rings again.
    pub(crate) fn take(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }
}

impl<T> Sender<T> {
    /// Queues `message` and wakes the worker.
    pub fn send(&self, message: T) {
        lock(&self.shared).push_back(message);
        self.waker.wake();
    }

    /// How many messages wait in the shared queue now.
    pub fn backlog(&self) -> usize {
        lock(&self.shared).len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { shared: self.shared.clone(), waker: self.waker.clone() }
    }
}

impl<T> Receiver<T> {
    /// The oldest message, if there is one. Never waits.
    pub fn try_recv(&mut self) -> Option<T> {
        if self.batch.is_empty() {
            std::mem::swap(&mut self.batch, &mut *lock(&self.shared));
        }
        self.batch.pop_front()
    }
}

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, VecDeque<T>> {
    // A push cannot leave the queue half changed, so a sender's panic does no harm here.
    shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bell() -> Arc<Bell> {
        Arc::new(Bell::new(None))
    }

    #[test]
    fn messages_arrive_in_order_and_ring_once() {
        let bell = bell();
        let (sender, mut receiver) = mailbox(Waker::new(bell.clone()));
        let other = sender.clone();
        std::thread::spawn(move || {
            other.send(1);
            other.send(2);
        })
        .join()
        .expect("the sending thread ends");
        assert!(bell.take());
        assert!(!bell.take(), "two messages ring once");
        sender.send(3);
        assert_eq!(receiver.try_recv(), Some(1));
        assert_eq!(receiver.try_recv(), Some(2));
        assert_eq!(receiver.try_recv(), Some(3));
        assert_eq!(receiver.try_recv(), None);
        assert!(bell.take(), "a message after the look rings again");
    }
}
