//! Removal of items whose time is over before anyone asks for them.
//!
//! Every segment knows a second before which a visit is not worth it, and so does every shard:
//! at first that is the earliest expiry in it, and after a visit the second by which an eighth
//! of the rest will have expired. So the sweeper's work is bounded by what it wins, and memory
//! comes back at most about a minute late. (Nobody sees an expired item in the meantime.)

use crate::record::Header;
use crate::shard::{Moment, Shard, join};

/// Longest pause between two visits to a segment in which something has expired, in seconds.
pub(crate) const PAUSE_SECONDS_MAX: u32 = 64;

/// A visit is worth it when one in this many records of the segment has expired.
const WORTH_SHARE: u32 = 8;

/// When the records of a segment expire, seen from now.
#[derive(Default)]
struct Forecast {
    records: u32,
    /// How many expire in less than 2, 4, 8 … seconds; the last is for any later second.
    soon: [u32; PAUSE_SECONDS_MAX.ilog2() as usize + 1],
    first: Option<u32>,
}

impl Shard {
    /// Whether a sweep would find something to look at.
    pub(crate) fn wants_sweep(&self, moment: &Moment<'_>) -> bool {
        self.expires <= moment.seconds || self.swept_mark != moment.flushed
    }

    /// Removes what is gone, looking at about `records_max` records; returns how many it looked
    /// at. When that is less than the limit, the shard is done.
    pub(crate) fn sweep(&mut self, moment: &Moment<'_>, records_max: usize) -> usize {
        if self.swept_mark != moment.flushed {
            // A new mark: anything may be gone, so no bound holds.
            for segment in self.segments.iter_mut().flatten() {
                segment.expires = 0;
            }
            self.swept_mark = moment.flushed;
        }
        let mut looked = 0;
        let mut next = u32::MAX;
        for id in 0..self.segments.len() {
            let Some(segment) = &self.segments[id] else { continue };
            if segment.expires <= moment.seconds && looked < records_max {
                looked += self.sweep_segment(moment, id as u32);
            }
            if let Some(segment) = &self.segments[id] {
                next = next.min(segment.expires);
            }
        }
        self.expires = next;
        looked
    }

    /// Removes what is gone from one segment and gives it back if nothing is left.
    fn sweep_segment(&mut self, moment: &Moment<'_>, id: u32) -> usize {
        let segment = self.segment(id);
        let (keep, from, end) =
            (segment.keep as usize, segment.from as usize, segment.end as usize);
        let mut looked = 0;
        let mut forecast = Forecast::default();
        let mut at = if keep > 0 { 0 } else { from };
        while at < end {
            let header = Header::read(&self.segment(id).span[at..]);
            looked += 1;
            if !header.bits.is_dead() {
                if moment.gone(&header).is_some() {
                    self.sweep_record(join(id, at), &header);
                } else {
                    forecast.count(moment.seconds, header.exptime);
                }
            }
            at += header.record_bytes();
            if at == keep {
                at = at.max(from);
            }
        }
        self.segment_mut(id).expires = forecast.next_visit(moment.seconds);
        self.retire(moment, id);
        looked
    }

    fn sweep_record(&mut self, address: u32, header: &Header) {
        self.count_reclaimed(header);
        let place = self.table.find_address(header.hash, address);
        self.table.remove(header.hash, place.expect("a live record is in the table"));
        self.bury(address, header);
    }
}

impl Forecast {
    fn count(&mut self, now: u32, exptime: u32) {
        self.records += 1;
        if exptime != 0 {
            let bucket = (exptime - now).max(1).ilog2() as usize;
            self.soon[bucket.min(self.soon.len() - 1)] += 1;
            self.first = Some(self.first.map_or(exptime, |first| first.min(exptime)));
        }
    }

    /// The second of the next visit.
    fn next_visit(&self, now: u32) -> u32 {
        let Some(first) = self.first else { return u32::MAX };
        let mut expired = 0;
        for (bucket, count) in self.soon.iter().enumerate() {
            expired += count;
            if expired * WORTH_SHARE >= self.records {
                // By the end of this span enough will have expired.
                return first.max(now + (2 << bucket).min(PAUSE_SECONDS_MAX));
            }
        }
        first.max(now + PAUSE_SECONDS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_wait_until_they_are_worth_it() {
        let mut forecast = Forecast::default();
        assert_eq!(forecast.next_visit(100), u32::MAX);
        (0..90).for_each(|_| forecast.count(100, 0));
        assert_eq!(forecast.next_visit(100), u32::MAX, "nothing expires");
        forecast.count(100, 103);
        assert_eq!(forecast.next_visit(100), 164, "one of 91 is not worth a visit yet");
        (0..12).for_each(|_| forecast.count(100, 105));
        assert_eq!(forecast.next_visit(100), 108);
        (0..90).for_each(|_| forecast.count(100, 101));
        assert_eq!(forecast.next_visit(100), 102);

        let mut late = Forecast::default();
        (0..90).for_each(|_| late.count(100, 5_000));
        assert_eq!(late.next_visit(100), 5_000);
    }
}
