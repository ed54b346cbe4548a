//! A vector of slots with ids that go stale.
//!
//! An id names a slot and the generation that lived in it when the id was given out. Once the value
//! is removed, every old id finds nothing, even after the slot has a new tenant. Used for
//! connections here and for exchanges, clients and the like in the proxy.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// A slab of `T`: insertion, removal and look-up in constant time, slots reused last in, first out
/// so that the busy ones stay in cache.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    occupied: usize,
}

/// Names one value of a [`Slab`]. Eight bytes, `Copy`; harmless once its value is gone.
pub struct Id<T> {
    index: u32,
    generation: u32,
    tenant: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Full(T),
    Free { next: u32 },
}

/// End of the free list; no slot can have this index.
const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    /// Makes an empty slab; it allocates with the first insertion.
    pub const fn new() -> Slab<T> {
        Slab { slots: Vec::new(), free: NONE, occupied: 0 }
    }

    /// How many values are inside.
    pub fn len(&self) -> usize {
        self.occupied
    }

    /// Whether no value is inside.
    pub fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Stores `value` and returns its id.
    pub fn insert(&mut self, value: T) -> Id<T> {
        self.insert_with(|_| value)
    }

    /// Stores the value that `make` builds, which may keep its own id.
    pub fn insert_with(&mut self, make: impl FnOnce(Id<T>) -> T) -> Id<T> {
        self.occupied += 1;
        if self.free == NONE {
            let index = u32::try_from(self.slots.len()).expect("a slab has fewer than 2^32 slots");
            let id = Id::from_parts(index, 0);
            self.slots.push(Slot { generation: 0, content: Content::Full(make(id)) });
            return id;
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        if let Content::Free { next } = slot.content {
            self.free = next;
        }
        let id = Id::from_parts(index, slot.generation);
        slot.content = Content::Full(make(id));
        id
    }

    /// The value that `id` names, unless it was removed.
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        match self.slots.get(id.index as usize) {
            Some(Slot { generation, content: Content::Full(value) })
                if *generation == id.generation =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value that `id` names for changing, unless it was removed.
    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        match self.slots.get_mut(id.index as usize) {
            Some(Slot { generation, content: Content::Full(value) })
                if *generation == id.generation =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// Whether `id` still names a value.
    #[inline]
    pub fn contains(&self, id: Id<T>) -> bool {
        self.get(id).is_some()
    }

    /// Takes the value that `id` names out; from now on `id` is stale.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation || matches!(slot.content, Content::Free { .. }) {
            return None;
        }
        let content = std::mem::replace(&mut slot.content, Content::Free { next: self.free });
        slot.generation = slot.generation.wrapping_add(1);
        self.free = id.index;
        self.occupied -= 1;
        match content {
            Content::Full(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// The id of whatever lives in slot `index` now.
    pub fn id_at(&self, index: u32) -> Option<Id<T>> {
        match self.slots.get(index as usize) {
            Some(Slot { generation, content: Content::Full(_) }) => {
                Some(Id::from_parts(index, *generation))
            }
            _ => None,
        }
    }

    /// All values with their ids, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match &slot.content {
            Content::Full(value) => Some((Id::from_parts(index as u32, slot.generation), value)),
            Content::Free { .. } => None,
        })
    }

    /// All values for changing with their ids, in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<T>, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| match &mut slot.content {
            Content::Full(value) => Some((Id::from_parts(index as u32, slot.generation), value)),
            Content::Free { .. } => None,
        })
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab::new()
    }
}

impl<T> Id<T> {
    /// Builds an id from the parts that [`Id::index`] and [`Id::generation`] gave.
    pub const fn from_parts(index: u32, generation: u32) -> Id<T> {
        Id { index, generation, tenant: PhantomData }
    }

    /// The number of the slot: small and dense, good as an index into a parallel table.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Which tenant of the slot this id means.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The whole id as one word, for use as a tag.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`Id::to_bits`]. Any word is allowed: a made-up id is merely stale.
    pub const fn from_bits(bits: u64) -> Id<T> {
        Id::from_parts(bits as u32, (bits >> 32) as u32)
    }
}

// Derived versions would demand the same of `T`, which an id does not contain.
impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}

impl<T> Eq for Id<T> {}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_ids_find_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index(), first.index(), "the slot is used again");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn slots_are_reused_last_in_first_out() {
        let mut slab = Slab::new();
        let ids: Vec<_> = (0..4).map(|n| slab.insert(n)).collect();
        slab.remove(ids[1]);
        slab.remove(ids[3]);
        assert_eq!(slab.insert(10).index(), 3);
        assert_eq!(slab.insert(11).index(), 1);
        assert_eq!(slab.insert(12).index(), 4);
        assert_eq!(slab.iter().count(), 5);
    }

    #[test]
    fn a_value_may_know_its_own_id() {
        let mut slab = Slab::new();
        let id = slab.insert_with(|id| id.to_bits());
        assert_eq!(slab.get(id), Some(&id.to_bits()));
        assert_eq!(Id::from_bits(id.to_bits()), id);
        assert!(!slab.contains(Id::from_bits(u64::MAX)));
    }
}
