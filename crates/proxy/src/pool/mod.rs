//! From a key to the backend of a pool.
//!
//! Four steps, one file each: which bytes of the key count (`part`), their hash (`hash`), the ring
//! points where the distribution has a ring (`ring`), and the choice itself (`placement`). A worker
//! builds one [`Placement`] per pool and set of live backends, and asks it once per key. Placement
//! is a promise to the fleet: any change here moves keys, so every rule is pinned by recorded
//! vectors.

mod hash;
mod part;
mod placement;
mod ring;

pub use hash::hash;
pub use part::part;
pub use placement::{Explanation, Placement};
