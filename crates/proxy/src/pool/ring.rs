//! Rings: points on the circle of 32-bit hashes, each owned by a backend.
//!
//! A key belongs to the first point at or after its hash, around the end to the first. twemproxy's
//! ketama and the ring of memcached's proxy differ in how many points a backend gets and of which
//! strings they are made, not in the look-up. Points are made once per set of live backends.

use twox_hash::XxHash3_64;

use super::hash::md5_words;
use crate::config::{Backend, RingMode};

/// Sorted points and their owners.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// Ascending. Apart from the owners, so that a search touches as few cache lines as it can.
    points: Vec<u32>,
    /// Index of the backend that owns the point at the same position.
    owners: Vec<u16>,
}

impl Ring {
    /// twemproxy's ketama over the backends at `live`. `None` if rounding leaves no point at all.
    pub(super) fn ketama(backends: &[Backend], live: &[u16]) -> Option<Ring> {
        let total: u64 = live.iter().map(|&at| u64::from(backends[at as usize].weight)).sum();
        let mut points = Vec::new();
        for &at in live {
            let backend = &backends[at as usize];
            for group in 0..ketama_groups(backend.weight, total, live.len()) {
                let mut label = format!("{}-{group}", backend.name).into_bytes();
                label.truncate(KETAMA_LABEL_BYTES_MAX);
                points.extend(md5_words(&label).map(|point| (point, at)));
            }
        }
        Ring::sorted(points)
    }

    /// The ring of memcached's proxy over the backends at `live`; weights do not count.
    pub(super) fn of_mode(
        mode: RingMode,
        count: u32,
        backends: &[Backend],
        live: &[u16],
    ) -> Option<Ring> {
        let mut points = Vec::new();
        for &at in live {
            let Backend { host, port, .. } = &backends[at as usize];
            if mode == RingMode::Default {
                points.extend((0..count.max(1)).map(|k| {
                    let label = format!("{host}:{port}-{k}");
                    (XxHash3_64::oneshot(label.as_bytes()) as u32, at)
                }));
                continue;
            }
            // Where the count is no multiple of four the rest is left out rather than searched
            // uninitialised; one group at least keeps every backend on the ring.
            for k in 0..(count / 4).max(1) {
                let label = match mode {
                    RingMode::Twemproxy if *port == 11211 => format!("{host}-{k}"),
                    RingMode::EvCache => format!("{host}/{host}:{port}-{k}"),
                    _ => format!("{host}:{port}-{k}"),
                };
                points.extend(md5_words(label.as_bytes()).map(|point| (point, at)));
            }
        }
        Ring::sorted(points)
    }

    /// The point that `hash` falls to, and its owner.
    #[inline]
    pub(super) fn find(&self, hash: u32) -> (u32, u16) {
        let at = self.points.partition_point(|&point| point < hash);
        let at = if at == self.points.len() { 0 } else { at };
        (self.points[at], self.owners[at])
    }

    fn sorted(mut points: Vec<(u32, u16)>) -> Option<Ring> {
        // Stable, so that among equal points the backend that comes first in the list is found.
        points.sort_by_key(|&(point, _)| point);
        let (points, owners): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        (!points.is_empty()).then_some(Ring { points, owners })
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, u16)> + '_ {
        self.points.iter().copied().zip(self.owners.iter().copied())
    }
}

/// How many groups of four points a backend gets. Single precision in exactly this order: with 25
/// equal backends rounding makes 39 groups of the exact 40, and everyone else's ring has those 39.
fn ketama_groups(weight: u32, total: u64, live: usize) -> u32 {
    let share = weight as f32 / total as f32;
    let groups = ((share * 160f32) / 4f32) * live as f32;
    let groups = (f64::from(groups) + 1e-10) as f32;
    groups.floor() as u32
}

/// Labels are cut here before they are hashed.
const KETAMA_LABEL_BYTES_MAX: usize = 272;
