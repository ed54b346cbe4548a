//! What is not one text request and one reply: the binary protocol, dumps, and watchers.

use crate::client::{ClientId, Stream};
use crate::intake::Step;
use crate::local::{self, Admission, Next};
use crate::worker::{Listener, Worker};
use keyway_proto::memcached::binary::{BinaryCut, cut_request};
use std::rc::Rc;

/// Unsent bytes of a dump or of watched lines at which the rest waits.
const STREAM_BYTES_PAUSE: usize = 256 << 10;

impl Worker {
    /// One binary request off the front of `bytes`.
    pub(crate) fn binary_request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        bytes: &[u8],
    ) -> Step {
        let header = match cut_request(bytes) {
            BinaryCut::Head(header) => header,
            BinaryCut::Partial => return Step::Wait(0),
            BinaryCut::Malformed => {
                self.counters.malformed.add(1);
                self.finish_client(id);
                return Step::Closed;
            }
        };
        let now = self.store_now();
        let client = self.clients.get_mut(id).expect("consume found the client");
        let ctx = local::Context {
            store: &self.store,
            shared: &self.shared,
            counters: &self.local,
            now,
            allow: listener.config.allow,
            users: &listener.config.users,
            cfd: client.entry.number,
            is_pipelined: false,
        };
        if !listener.is_store {
            local::binary::refuse(&header, &mut self.output);
            self.counters.malformed.add(1);
            self.send_output(id);
            self.finish_client(id);
            return Step::Closed;
        }
        let head_bytes = keyway_proto::memcached::binary::HEADER_BYTES;
        let there = (bytes.len() - head_bytes) as u64;
        let body = match local::binary::admit(&ctx, &header, &bytes[head_bytes..], &mut self.output)
        {
            Admission::Read(count) => count,
            Admission::Refuse { swallow } => {
                client.swallow = swallow;
                self.send_output(id);
                return Step::Took(head_bytes);
            }
            Admission::Close => {
                self.send_output(id);
                self.finish_client(id);
                return Step::Closed;
            }
        };
        if body > there {
            return Step::Wait((body - there) as usize);
        }
        let end = head_bytes + body as usize;
        let body = &bytes[head_bytes..end];
        let session = &mut client.session;
        let next = local::binary::execute(&ctx, session, &header, body, &mut self.output);
        client.entry.command_at(now.seconds);
        self.send_output(id);
        self.obey(id, next, end)
    }

    /// Gives dumps their next slice and watchers their new lines.
    pub(crate) fn serve_streams(&mut self) {
        let ids = std::mem::take(&mut self.streams);
        for id in ids {
            if self.serve_stream(id) {
                self.streams.push(id);
            }
        }
    }

    /// True while there may be more for this client.
    fn serve_stream(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let unsent = self.engine.unsent(client.conn);
        match &client.stream {
            Stream::None => false,
            Stream::Watch(watching) => {
                if unsent < STREAM_BYTES_PAUSE {
                    watching.take(&mut self.output.bytes);
                    self.send_output(id);
                }
                true
            }
            Stream::Dump if unsent >= STREAM_BYTES_PAUSE => {
                // The next turn that has anything to do looks again.
                self.engine.notify_drained(client.conn, STREAM_BYTES_PAUSE / 2);
                true
            }
            Stream::Dump => self.next_slice(id),
        }
    }

    fn next_slice(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some(listener) = self.listeners.get(client.listener as usize).and_then(|l| l.clone())
        else {
            return false;
        };
        let ctx = local::Context {
            store: &self.store,
            shared: &self.shared,
            counters: &self.local,
            now: Self::store_now(self),
            allow: listener.config.allow,
            users: &listener.config.users,
            cfd: 0,
            is_pipelined: false,
        };
        let client = self.clients.get_mut(id).expect("the client was found above");
        let next = local::more(&ctx, &mut client.session, &mut self.output);
        let goes_on = matches!(next, Next::More);
        if !goes_on {
            client.stream = Stream::None;
            if (client.state.blocked || client.state.ended) && !client.state.queued {
                client.state.queued = true;
                self.queue.push_back(id);
            }
        } else if !client.state.queued {
            // Comes back in the next turn even when nothing else happens.
            client.state.queued = true;
            self.queue.push_back(id);
        }
        self.send_output(id);
        if !goes_on {
            self.obey(id, next, 0);
        }
        goes_on
    }
}
