//! Exclusive access to one key, for everything that changes an item.
//!
//! [`Entry`] holds the shard's lock for one callback. Commands are built from its parts elsewhere;
//! what is here keeps table, records and counters in step.

use crate::item::{Item, ItemBits, New};
use crate::memory::Extent;
use crate::record::{self, Bits, Body, Header};
use crate::shard::{Moment, Queue, Shard, split};
use crate::store::{Miss, PutError, Store};
use crate::table::Place;
use std::sync::Arc;

/// What memcached counts for an item beyond key and value: its header, the CAS number, the end
/// of the key and the line end. Limits on item sizes are compared with its figures.
const COUNTED_BYTES: usize = 48 + 8 + 1 + 2;

/// Bytes of an item as memcached counts them, for limits and `s`-like figures.
pub fn counted_bytes(key_len: usize, value_len: usize, flags: u32) -> usize {
    COUNTED_BYTES + key_len + value_len + if flags == 0 { 0 } else { 4 }
}

/// One key, locked.
pub struct Entry<'a> {
    store: &'a Store,
    shard: &'a mut Shard,
    /// The number of `shard`.
    index: usize,
    moment: Moment<'a>,
    hash: u32,
    key: &'a [u8],
    /// Where the live item is.
    found: Result<u32, Miss>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(
        store: &'a Store,
        shard: &'a mut Shard,
        index: usize,
        moment: Moment<'a>,
        hash: u32,
        key: &'a [u8],
    ) -> Entry<'a> {
        let found = shard.look(&moment, hash, key).map(|(address, _)| address);
        Entry { store, shard, index, moment, hash, key, found }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// The live item, if there is one.
    pub fn get(&self) -> Option<Item<'_>> {
        let address = self.found.ok()?;
        Some(self.shard.item(address, &self.shard.header(address)))
    }

    /// Why there is no live item; `None` when there is one.
    pub fn miss(&self) -> Option<Miss> {
        self.found.err()
    }

    /// Counts a use: eviction frequency, last access, fetched bit.
    pub fn bump(&mut self) {
        if let Ok(address) = self.found {
            let header = self.shard.header(address);
            self.shard.bump(address, &header, self.moment.seconds);
        }
    }

    /// Writes the item, new or in place of the old one, and returns its CAS number.
    ///
    /// # Errors
    /// [`PutError`]; the old item is as it was, unless it was evicted in the search for room.
    pub fn put(&mut self, new: &New<'_>) -> Result<u64, PutError> {
        let value_len = new.value.iter().map(|piece| piece.len()).sum();
        let header = self.header(new, value_len)?;
        if let Ok(address) = self.found
            && self.rewrite(address, &header, new.value)
        {
            return Ok(header.cas);
        }
        let outcome = self.append(&header, new.value);
        if outcome.is_err() {
            self.shard.counts.out_of_memory += 1;
            self.shard.class(&header).out_of_memory += 1;
            // The search for room may have moved or even taken the old item.
            self.found = self.old().map(|(_, address)| address).ok_or(Miss::Absent);
        }
        outcome
    }

    /// Lengthens the value of the live item: `before` + old + `after` (prepend, append). Flags,
    /// expiry and bits stay; the CAS number is `cas` or a fresh one. `Ok(None)`: no item.
    ///
    /// # Errors
    /// [`PutError`], as for `put`.
    pub fn extend(
        &mut self,
        before: &[u8],
        after: &[u8],
        cas: Option<u64>,
    ) -> Result<Option<u64>, PutError> {
        let Some(item) = self.get() else { return Ok(None) };
        // The search for room may move or even evict the old item, and its value is needed
        // after that. A lengthened item is copied twice, which keeps this simple.
        let value = [before, item.value, after].concat();
        let new = New {
            flags: item.flags,
            exptime: item.exptime,
            exptime_millis: item.exptime_millis,
            cas,
            bits: item.bits,
            value: &[&value],
        };
        self.put(&new).map(Some)
    }

    /// Rewrites the value at its length, keeping all else, for incr and decr. `None`: no item,
    /// or a reader holds this value; then use [`Entry::put`].
    pub fn value_mut(&mut self) -> Option<&mut [u8]> {
        let address = self.found.ok()?;
        let header = self.shard.header(address);
        if header.bits.is_long() {
            let number = header.extent(self.shard.record(address));
            let extent = self.shard.extents[number as usize].as_mut()?;
            return Arc::get_mut(extent).map(Extent::bytes_mut);
        }
        Some(header.value_mut(self.shard.record_mut(address)))
    }

    /// Removes the item; tells whether there was one.
    pub fn remove(&mut self) -> bool {
        let Ok(address) = self.found else { return false };
        let place = self.shard.table.find_address(self.hash, address);
        let place = place.expect("a live record is in the table");
        self.shard.remove(&self.moment, place, address);
        self.found = Err(Miss::Absent);
        true
    }

    /// Sets the second from which the item is invisible (0: never). No-op without an item.
    pub fn set_exptime(&mut self, exptime: u32) {
        self.set_expiry(exptime, 0);
    }

    /// The same with milliseconds (0..=999) beyond that second. A time that has come already
    /// hides the item from the next operation on, not from this entry.
    pub fn set_expiry(&mut self, exptime: u32, exptime_millis: u16) {
        if let Ok(address) = self.found {
            let exptime_millis = exptime_millis.min(999);
            record::set_expiry(self.shard.record_mut(address), exptime, exptime_millis);
            self.shard.note_expiry(address, exptime);
        }
    }

    /// Sets the client flags. No-op without an item.
    pub fn set_flags(&mut self, flags: u32) {
        if let Ok(address) = self.found {
            record::set_flags(self.shard.record_mut(address), flags);
        }
    }

    /// Sets the CAS number. No-op without an item.
    pub fn set_cas(&mut self, cas: u64) {
        if let Ok(address) = self.found {
            record::set_cas(self.shard.record_mut(address), cas);
        }
    }

    /// Gives the item a fresh CAS number and returns it; `None` without an item.
    pub fn renew_cas(&mut self) -> Option<u64> {
        let address = self.found.ok()?;
        let cas = self.store.next_cas();
        record::set_cas(self.shard.record_mut(address), cas);
        Some(cas)
    }

    /// Sets the state bits. No-op without an item.
    pub fn set_bits(&mut self, bits: ItemBits) {
        if let Ok(address) = self.found {
            let old = self.shard.header(address).bits;
            record::set_bits(self.shard.record_mut(address), old.with_item_bits(bits));
        }
    }

    /// The header of a new record for this key. Overwriting counts as a use, but the new value
    /// was not fetched yet.
    fn header(&self, new: &New<'_>, value_len: usize) -> Result<Header, PutError> {
        let counted = counted_bytes(self.key.len(), value_len, new.flags);
        if counted > self.store.item_bytes_max as usize {
            return Err(PutError::TooLarge);
        }
        let uses = match self.found {
            Ok(address) => (self.shard.header(address).bits.uses() + 1).min(record::USES_MAX),
            Err(_) => 0,
        };
        let is_long = record::is_long(self.key.len(), value_len);
        let header = Header {
            units_raw: record::units(self.key.len(), value_len, is_long),
            key_len: u8::try_from(self.key.len()).map_err(|_| PutError::TooLarge)?,
            bits: Bits::new(new.bits, is_long, uses),
            hash: self.hash,
            cas: new.cas.unwrap_or_else(|| self.store.next_cas()),
            flags: new.flags,
            exptime: 0,
            last_access_raw: self.moment.seconds.min(record::LAST_ACCESS_MAX),
            value_len_raw: value_len as u32,
        };
        Ok(header.with_expiry(new.exptime, new.exptime_millis.min(999)))
    }

    /// Writes over the old record if the new one is exactly as long; false if it is not.
    fn rewrite(&mut self, address: u32, header: &Header, value: &[&[u8]]) -> bool {
        let old = self.shard.header(address);
        if old.units() != header.units() || old.bits.is_long() != header.bits.is_long() {
            return false;
        }
        let mut body = Body::Pieces(value);
        if old.bits.is_long() {
            let number = old.extent(self.shard.record(address));
            let extent = self.shard.extents[number as usize].as_mut().and_then(Arc::get_mut);
            let Some(extent) = extent.filter(|extent| extent.suits(header.value_len() as usize))
            else {
                return false;
            };
            extent.write(value);
            body = Body::Extent(number);
        }
        self.shard.count_out(&old);
        self.shard.count_in(header);
        self.shard.counts.stored += 1;
        record::write(self.shard.record_mut(address), header, self.key, body);
        self.shard.note_expiry(address, header.exptime);
        true
    }

    /// Writes a new record, and lets go of the old one if there is one.
    fn append(&mut self, header: &Header, value: &[&[u8]]) -> Result<u64, PutError> {
        let mut extent = None;
        if header.bits.is_long() {
            let bytes = header.value_len() as usize;
            let mut new = self.store.extent(self.shard, self.index, &self.moment, bytes)?;
            new.write(value);
            extent = Some(Arc::new(new));
        }
        let address = self.make_room(header.record_bytes())?;
        let body = match extent {
            Some(extent) => Body::Extent(self.shard.adopt(extent)),
            None => Body::Pieces(value),
        };
        self.shard.append(address, header, self.key, body);
        self.shard.counts.stored += 1;
        match self.old() {
            Some((place, old)) => {
                self.shard.table.set_address(place, address);
                let old_header = self.shard.header(old);
                self.shard.bury(old, &old_header);
                self.shard.retire(&self.moment, split(old).0);
            }
            None => self.shard.table.insert(self.hash, address),
        }
        self.found = Ok(address);
        Ok(header.cas)
    }

    /// Room for a record, in the queue where it belongs, and in the table.
    fn make_room(&mut self, bytes: usize) -> Result<u32, PutError> {
        self.store.table_room(self.shard, self.index, &self.moment)?;
        let queue = match self.old() {
            Some((_, address)) => self.shard.queue_of(address),
            None if self.shard.ghost.take(self.hash) => Queue::Main,
            None => Queue::Small,
        };
        self.store.room(self.shard, self.index, &self.moment, queue, bytes)
    }

    /// Where the old item is now: it moves, and may even be evicted, when room is made.
    fn old(&self) -> Option<(Place, u32)> {
        if self.found.is_err() {
            return None;
        }
        self.shard.find(self.hash, self.key)
    }
}
