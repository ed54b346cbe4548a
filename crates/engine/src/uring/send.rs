//! The sending half of the io_uring backend: at most one send under way per connection.
//!
//! What is under way must not move or go away; `Output::frozen` and the `SENDING` state see to
//! that until the kernel has reported.

use super::table::{NONE, State};
use super::{LAST_READS_MAX, Pending, SEND, Uring, reason_of};
use crate::event::CloseReason;
use crate::output::{GATHER_MAX, Output};
use io_uring::opcode;
use io_uring::types::Fd;
use rustix::net::{RecvFlags, Shutdown};
use std::io::IoSlice;

/// What a gathering send refers to; boxed, because the kernel reads it later.
pub(super) struct Gather {
    header: libc::msghdr,
    slices: [libc::iovec; GATHER_MAX],
}

impl Uring {
    /// A send is done. More output may have come meanwhile.
    #[inline]
    pub(super) fn sent(&mut self, index: u32, result: i32) {
        self.under_way -= 1;
        let conn = self.conns.at(index);
        conn.output.state.remove(State::SENDING);
        conn.output.frozen = false;
        if conn.gather != NONE {
            self.free_gathers.push(conn.gather);
            conn.gather = NONE;
        }
        if conn.output.state.intersects(State::GONE | State::DOOMED) {
            conn.output.clear(&mut self.blocks);
            self.free_if_gone(index);
            return;
        }
        match usize::try_from(result) {
            Ok(taken) => {
                self.counters.sends += 1;
                self.counters.sent_bytes += taken as u64;
                conn.output.advance(taken, &mut self.blocks);
            }
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => {}
            Err(_) => return self.failed_to_send(index, -result),
        }
        if !conn.output.is_empty() {
            // Either the peer is slow or this was appended during the send; both are rare enough
            // to look after memory here.
            if !conn.output.state.contains(State::DIRTY) {
                self.counters.short_sends += 1;
                conn.output.detach();
                self.send(index);
            }
        }
        self.check_drained(index);
        let conn = self.conns.at(index);
        if conn.output.is_empty() && conn.output.state.contains(State::FINISHING) {
            self.finished(index);
        }
    }

    #[cold]
    fn failed_to_send(&mut self, index: u32, errno: i32) {
        let conn = self.conns.at(index);
        if matches!(errno, libc::EPIPE | libc::ECONNRESET) && conn.is_reading() {
            // What the peer said before it left is still to be read; the end comes with it.
            conn.output.clear(&mut self.blocks);
            conn.output.state.insert(State::BROKEN);
        } else {
            self.doom(index, reason_of(errno));
        }
    }

    /// Hands the front of the output to the kernel, unless it is busy with an earlier part.
    #[inline]
    pub(super) fn send(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let not = State::SENDING | State::CONNECTING | State::DOOMED | State::GONE;
        if conn.output.is_empty() || conn.output.state.intersects(not) {
            return;
        }
        let fd = Fd(conn.raw_fd());
        let entry = if let Some(bytes) = conn.output.contiguous() {
            let length = bytes.len().min(SEND_MAX) as u32;
            opcode::Send::new(fd, bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build()
        } else {
            let number = self.free_gathers.pop().unwrap_or_else(|| {
                self.gathers.push(Gather::new());
                self.gathers.len() as u32 - 1
            });
            conn.gather = number;
            let gather = &mut self.gathers[number as usize];
            gather.describe(&conn.output);
            opcode::SendMsg::new(fd, &raw const gather.header)
                .flags(libc::MSG_NOSIGNAL as u32)
                .build()
        };
        conn.output.frozen = true;
        conn.output.state.insert(State::SENDING);
        self.submit(entry.user_data(SEND | u64::from(index)));
    }

    /// Reports that the output fell below the mark, if somebody asked.
    #[inline]
    pub(super) fn check_drained(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.drained_below > 0 && conn.output.unsent() < conn.drained_below as usize {
            conn.drained_below = 0;
            self.pending.push_back(Pending::Drained(self.conns.id(index)));
        }
    }

    /// The last output of a finishing connection is with the kernel.
    #[cold]
    pub(super) fn finished(&mut self, index: u32) {
        if let Some(fd) = &self.conns.at(index).fd {
            let _ = rustix::net::shutdown(fd, Shutdown::Write);
            // Closing with unread input would send a reset, which can overtake our last reply.
            for _ in 0..LAST_READS_MAX {
                match rustix::net::recv(fd, &mut self.spare_line, RecvFlags::DONTWAIT) {
                    Ok((_, length)) if length > 0 => {}
                    _ => break,
                }
            }
        }
        self.doom(index, CloseReason::Finished);
    }
}

impl Gather {
    fn new() -> Box<Gather> {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: all zeroes are a message header without name, pieces and control data.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Gather { header, slices: [empty; GATHER_MAX] })
    }

    /// Points at the front of `output`.
    fn describe(&mut self, output: &Output<State>) {
        let mut slices = [IoSlice::new(&[]); GATHER_MAX];
        let (count, _) = output.gather(&mut slices);
        for (place, slice) in self.slices.iter_mut().zip(&slices[..count]) {
            place.iov_base = slice.as_ptr().cast_mut().cast();
            place.iov_len = slice.len();
        }
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = count as _;
    }
}

/// The most that one send offers to the kernel.
const SEND_MAX: usize = 1 << 30;
