//! memcached clients of a listener that stands in for twemproxy.
//!
//! twemproxy knows a part of the protocol and closes the connection, without a word, at the first
//! byte that is not in it. What it accepts goes the way of all text requests.

use crate::client::{ClientId, Speaks};
use crate::intake::Step;
use crate::worker::{Listener, Worker};
use keyway_proto::memcached::limit::LineLimits;
use keyway_proto::memcached::strict::{PLACEHOLDER_KEY, StrictCut, cut_strict, is_value_end};
use keyway_proto::memcached::{Head, ValueLength, Verb};
use std::rc::Rc;

impl Worker {
    /// One request off the front of `bytes`, of which the first `scanned` hold no line end.
    pub(crate) fn strict_request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        bytes: &[u8],
        scanned: usize,
    ) -> Step {
        let client = self.clients.get_mut(id).expect("consume found the client");
        client.speaks = Speaks::Text;
        let head = match cut_strict(bytes, &LineLimits::PROXIED, scanned) {
            StrictCut::Head(head) => head,
            StrictCut::Partial => {
                client.scanned = bytes.len();
                return Step::Wait(0);
            }
            StrictCut::Quit => {
                self.finish_client(id);
                return Step::Closed;
            }
            StrictCut::Refuse => return self.drop_client(id),
        };
        if let ValueLength::Bytes(count) = head.value {
            let end =
                usize::try_from(count).ok().and_then(|count| head.line_bytes.checked_add(count));
            let after = end.and_then(|end| bytes.get(end..)).unwrap_or_default();
            if !is_value_end(&after[..after.len().min(2)]) {
                return self.drop_client(id);
            }
        }
        let head = match head.verb {
            // One server speaks for all: that of a constant key.
            Verb::Version => Head { key: PLACEHOLDER_KEY, ..head },
            _ => head,
        };
        self.proxied_request(id, listener, head, bytes)
    }

    /// Closes a client without a word.
    pub(crate) fn drop_client(&mut self, id: ClientId) -> Step {
        self.counters.malformed.add(1);
        if let Some(client) = self.clients.get_mut(id) {
            client.leaves = "error";
        }
        self.close_client(id);
        Step::Closed
    }
}
