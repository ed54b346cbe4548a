//! The choice of a backend for a key.
//!
//! A [`Placement`] is compiled from a pool and the set of its live backends, belongs to one worker
//! and never changes; ejection and reload build a new one. `choose` is on the path of every
//! request: it allocates nothing, and a pool of one backend is not hashed at all.

use super::hash::hash;
use super::part::part;
use super::ring::Ring;
use crate::config::{Distribution, Hash, KeyPart, Pool};

/// Most backends a pool may have.
pub const BACKENDS_MAX: usize = u16::MAX as usize;

/// From keys to backends of one pool, by its position in [`Pool::backends`].
#[derive(Clone, Debug)]
pub struct Placement {
    function: Hash,
    seed: u64,
    rule: KeyPart,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    /// The only one; keys are not hashed.
    Sole(u16),
    /// Ketama and the rings of memcached's proxy: low 32 bits of the hash.
    Ring(Ring),
    /// Low 32 bits of the hash modulo the number of backends, all of the same weight.
    Even(Vec<u16>),
    /// Low 32 bits of the hash modulo total weight: the first whose end lies above is chosen.
    Weighted { ends: Vec<u64>, owners: Vec<u16> },
    /// Any; keys are not hashed.
    Random(Vec<u16>),
    /// Jump hash of all 64 bits over the list.
    Jump(Vec<u16>),
}

/// How a key finds its backend; what `keyway explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The bytes of the key that count.
    pub part: &'a [u8],
    /// Their hash; `None` where no hash is taken: one backend, or random choice.
    pub hash: Option<u64>,
    /// What the hash led to: the ring point, the remainder of modula, or the position that jump
    /// hash gave among the live backends.
    pub point: Option<u64>,
    /// Position in [`Pool::backends`].
    pub backend: usize,
}

impl Placement {
    /// Compiles the placement of `pool` over the backends that `live` accepts. If it accepts none,
    /// all count as live; callers that must refuse requests then know so from their own count.
    ///
    /// # Panics
    /// If the pool has no backend, or more than [`BACKENDS_MAX`]; a valid configuration has
    /// neither.
    pub fn new(pool: &Pool, live: impl Fn(usize) -> bool) -> Placement {
        let count = pool.backends.len();
        assert!((1..=BACKENDS_MAX).contains(&count), "a valid pool has 1 to 65535 backends");
        let mut list: Vec<u16> = (0..count).filter(|&at| live(at)).map(|at| at as u16).collect();
        if list.is_empty() {
            list = (0..count as u16).collect();
        }
        Placement {
            function: pool.hash,
            seed: pool.hash_seed,
            rule: pool.key_part.clone(),
            choice: Choice::new(pool, list),
        }
    }

    /// The backend for `key`, as its position in [`Pool::backends`]. `random` is asked only by
    /// [`Distribution::Random`]; any 32 bits will do.
    #[inline]
    pub fn choose(&self, key: &[u8], random: impl FnOnce() -> u32) -> usize {
        match &self.choice {
            Choice::Sole(owner) => usize::from(*owner),
            Choice::Random(owners) => usize::from(owners[random() as usize % owners.len()]),
            choice => choice.find(hash(self.function, self.seed, part(&self.rule, key))).1,
        }
    }

    /// Every step of [`Placement::choose`] for `key`.
    pub fn explain<'a>(&self, key: &'a [u8], random: impl FnOnce() -> u32) -> Explanation<'a> {
        let part = part(&self.rule, key);
        if matches!(self.choice, Choice::Sole(_) | Choice::Random(_)) {
            return Explanation {
                part,
                hash: None,
                point: None,
                backend: self.choose(key, random),
            };
        }
        let hash = hash(self.function, self.seed, part);
        let (point, backend) = self.choice.find(hash);
        Explanation { part, hash: Some(hash), point: Some(point), backend }
    }
}

impl Choice {
    fn new(pool: &Pool, live: Vec<u16>) -> Choice {
        if let [owner] = live[..] {
            return Choice::Sole(owner);
        }
        let ring = match pool.distribution {
            Distribution::Ketama => Ring::ketama(&pool.backends, &live),
            Distribution::Ring { mode, points } => {
                Ring::of_mode(mode, points, &pool.backends, &live)
            }
            Distribution::Modula => return Choice::modula(pool, live),
            Distribution::Random => return Choice::Random(live),
            Distribution::Jump => return Choice::Jump(live),
        };
        Choice::Ring(ring.expect("each kind of ring gives its heaviest backend a point"))
    }

    fn modula(pool: &Pool, live: Vec<u16>) -> Choice {
        let weight = |at: u16| u64::from(pool.backends[usize::from(at)].weight);
        if live.iter().all(|&at| weight(at) == 1) {
            return Choice::Even(live);
        }
        let mut total = 0;
        let ends = live.iter().map(|&at| {
            total += weight(at);
            total
        });
        Choice::Weighted { ends: ends.collect(), owners: live }
    }

    /// The point (see [`Explanation::point`]) and the backend for `hash`.
    #[inline]
    fn find(&self, hash: u64) -> (u64, usize) {
        let low = hash as u32;
        let (point, owner) = match self {
            Choice::Ring(ring) => {
                let (point, owner) = ring.find(low);
                (u64::from(point), owner)
            }
            Choice::Even(owners) => {
                let at = low % owners.len() as u32;
                (u64::from(at), owners[at as usize])
            }
            Choice::Weighted { ends, owners } => {
                let total = ends.last().expect("modula has several backends");
                let slot = u64::from(low) % total;
                (slot, owners[ends.partition_point(|&end| end <= slot)])
            }
            Choice::Jump(owners) => {
                let at = jump(hash, owners.len());
                (at as u64, owners[at])
            }
            Choice::Sole(owner) => (0, *owner),
            Choice::Random(owners) => (0, owners[0]),
        };
        (point, usize::from(owner))
    }
}

/// Lamping and Veach's consistent hash: a bucket below `buckets`; one bucket more moves only the
/// keys that go into it.
fn jump(mut hash: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0, 0i64);
    while next < buckets as i64 {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let step = (1u64 << 31) as f64 / ((hash >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * step) as i64;
    }
    bucket as usize
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
