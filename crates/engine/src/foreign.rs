//! Memory of somebody else's that is being sent: a held store item, for example.
//!
//! Used by `output` only. It exists so that an owner is asked for its bytes once and the answer
//! stays good while the kernel reads it.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

/// An owner of bytes together with its answer to `as_ref`, asked for once.
///
/// The answer stays valid and unchanged as long as the owner is borrowed, and this type keeps it
/// borrowed from `new` to `drop`. So the kernel may read the bytes while no Rust code looks.
pub(crate) struct Foreign {
    owner: NonNull<dyn AsRef<[u8]>>,
    bytes: NonNull<[u8]>,
}

impl Foreign {
    pub(crate) fn new(owner: Box<dyn AsRef<[u8]>>) -> Foreign {
        let owner = NonNull::from(Box::leak(owner));
        // SAFETY: the owner was leaked above and is taken back only by `drop`, so it can be
        // borrowed for as long as this value lives.
        let bytes = NonNull::from(unsafe { owner.as_ref() }.as_ref());
        Foreign { owner, bytes }
    }
}

impl Deref for Foreign {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` got these bytes from the owner, which stays borrowed and in its place until
        // `drop`.
        unsafe { self.bytes.as_ref() }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: the owner came out of a box in `new`, nobody else has it, and the borrow that
        // `bytes` stands for ends here.
        drop(unsafe { Box::from_raw(self.owner.as_ptr()) });
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Answers differently each time it is asked, and says when it is dropped.
    struct Moody {
        answers: [Vec<u8>; 2],
        asked: Cell<usize>,
        dropped: Rc<Cell<bool>>,
    }

    impl AsRef<[u8]> for Moody {
        fn as_ref(&self) -> &[u8] {
            self.asked.set(self.asked.get() + 1);
            &self.answers[(self.asked.get() - 1) % 2]
        }
    }

    impl Drop for Moody {
        fn drop(&mut self) {
            self.dropped.set(true);
        }
    }

    #[test]
    fn the_owner_is_asked_once_and_dropped_once() {
        let dropped = Rc::new(Cell::new(false));
        let answers = [b"first".to_vec(), b"2".to_vec()];
        let owner = Moody { answers, asked: Cell::new(0), dropped: dropped.clone() };
        let foreign = Foreign::new(Box::new(owner));
        assert_eq!(&*foreign, b"first");
        assert_eq!(&*foreign, b"first");
        assert!(!dropped.get());
        drop(foreign);
        assert!(dropped.get());
    }
}
