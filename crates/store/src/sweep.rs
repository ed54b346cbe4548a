//! Removal of items whose time is over before anyone asks for them.
//!
//! Every segment knows a second before which nothing in it expires, and so does every shard, so
//! a sweep only visits segments that have something to give.

use crate::record::Header;
use crate::shard::{Moment, Shard, join};

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
        let mut expires = u32::MAX;
        let mut at = if keep > 0 { 0 } else { from };
        while at < end {
            let header = Header::read(&self.segment(id).span[at..]);
            looked += 1;
            if !header.bits.is_dead() {
                if moment.gone(&header).is_some() {
                    self.sweep_record(join(id, at), &header);
                } else if header.exptime != 0 {
                    expires = expires.min(header.exptime);
                }
            }
            at += header.record_bytes();
            if at == keep {
                at = at.max(from);
            }
        }
        self.segment_mut(id).expires = expires;
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
