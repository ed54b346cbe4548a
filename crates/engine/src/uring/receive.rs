//! The receiving half of the io_uring backend: what arrived, pauses, and the end of the stream.
//!
//! A multishot receive keeps reporting until it ends by itself, is stopped for a pause, or the
//! buffers run out. No byte is lost in any of these: what comes too late waits in the stash.

use super::table::State;
use super::{Pending, RECEIVE, Uring, reason_of};
use crate::event::{CloseReason, ConnId, Event};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};

impl Uring {
    /// Returns the next chunk that arrived during a pause.
    pub(super) fn unstash(&mut self, id: ConnId) -> Option<Event> {
        let conn = self.conns.get_mut(id)?;
        if !conn.is_reading() {
            return None;
        }
        let stash = self.stash.get_mut(&id.index)?;
        let chunk = stash.pop_front();
        if stash.is_empty() {
            self.stash.remove(&id.index);
            conn.output.state.remove(State::STASHED);
        } else {
            self.pending.push_front(Pending::Stashed(id));
        }
        Some(Event::Received { conn: id, tag: conn.tag, chunk: chunk? })
    }

    /// One report of a receive. Bytes come with the buffer that the kernel picked.
    #[inline]
    pub(super) fn received(&mut self, index: u32, result: i32, flags: u32) -> Option<Event> {
        let conn = self.conns.at(index);
        let group = usize::from(conn.output.state.contains(State::RECEIVES_LARGE));
        let buffer = cqueue::buffer_select(flags);
        if !cqueue::more(flags) {
            conn.output.state.remove(State::RECEIVING | State::STOPPING);
            self.under_way -= 1;
            if conn.is_reading() {
                self.mark_changed(index);
            }
        }
        let Some(buffer) = buffer else { return self.received_nothing(index, result) };
        self.last = Some((group, buffer));
        let conn = self.conns.at(index);
        let Ok(length @ 1..) = usize::try_from(result) else {
            return self.received_nothing(index, result);
        };
        let chunk = self.buffers[group].filled(buffer, length);
        let state = conn.output.state;
        if conn.is_reading() && !state.contains(State::STASHED) {
            self.counters.receives += 1;
            self.counters.received_bytes += length as u64;
            let id = ConnId { index, generation: conn.generation };
            return Some(Event::Received { conn: id, tag: conn.tag, chunk });
        }
        // Paused: the stop came too late for these bytes, which wait here instead of in the kernel.
        let drops = State::FINISHING | State::DOOMED | State::GONE;
        if !state.intersects(drops) {
            self.counters.receives += 1;
            self.counters.received_bytes += length as u64;
            conn.output.state.insert(State::STASHED);
            self.stash.entry(index).or_default().push_back(chunk);
        } else {
            drop(chunk);
        }
        self.give_back_last();
        self.free_if_gone(index);
        None
    }

    /// The end of a receive: the end of the stream, an error, or nothing to speak of.
    #[cold]
    fn received_nothing(&mut self, index: u32, result: i32) -> Option<Event> {
        self.give_back_last();
        let conn = self.conns.at(index);
        if conn.output.state.intersects(State::GONE | State::DOOMED) {
            self.free_if_gone(index);
            return None;
        }
        match -result {
            0 if conn.is_reading() => self.ended(index),
            // The buffers ran out, the receive was asked to stop, or a signal came: `mark_changed`
            // has put it on the list if it is to start again. The end of file repeats itself.
            0 | libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => None,
            errno => {
                self.doom(index, reason_of(errno));
                None
            }
        }
    }

    /// The peer sends no more.
    #[cold]
    fn ended(&mut self, index: u32) -> Option<Event> {
        let conn = self.conns.at(index);
        if conn.output.state.contains(State::STASHED) {
            // First comes what arrived before; the receive that follows ends again.
            return None;
        }
        if conn.output.state.contains(State::BROKEN) {
            self.doom(index, CloseReason::Reset);
            return None;
        }
        if !conn.output.state.contains(State::HALF_CLOSE) {
            self.doom(index, CloseReason::Eof);
            return None;
        }
        conn.output.state.insert(State::ENDED);
        let tag = conn.tag;
        Some(Event::Ended { conn: self.conns.id(index), tag })
    }

    /// Starts and stops receives as this turn demands. A pause that was taken back costs nothing.
    pub(super) fn apply_changes(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        for index in changed.drain(..) {
            let conn = self.conns.at(index);
            if !conn.output.state.contains(State::CHANGED) {
                continue;
            }
            conn.output.state.remove(State::CHANGED);
            let state = conn.output.state;
            let large = state.contains(State::WANTS_LARGE);
            let fits = large == state.contains(State::RECEIVES_LARGE);
            if state.contains(State::RECEIVING) {
                let stops = !conn.is_reading() || !fits;
                if stops && !state.contains(State::STOPPING) {
                    conn.output.state.insert(State::STOPPING);
                    self.cancel(RECEIVE | u64::from(index));
                }
            } else if conn.is_reading() && conn.fd.is_some() {
                conn.output.state.set(State::RECEIVES_LARGE, large);
                conn.output.state.insert(State::RECEIVING);
                let group = self.buffers[usize::from(large)].group();
                let receive = opcode::RecvMulti::new(Fd(conn.raw_fd()), group).build();
                self.submit(receive.user_data(RECEIVE | u64::from(index)));
            }
        }
        self.changed = changed;
    }

    /// Gives the buffer of the last event back to the kernel, now that the worker is done with it.
    #[inline]
    pub(super) fn give_back_last(&mut self) {
        if let Some((group, id)) = self.last.take() {
            self.buffers[group].give_back(id);
        }
    }
}
