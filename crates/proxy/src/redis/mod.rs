//! Clients that speak RESP: what is known of them, and the way of their requests.
//!
//! The way is that of memcached's requests (`worker`, `forward`, `settle`), entered by `intake`.
//! What RESP adds has a file each: several keys (`split`), whole pools (`everywhere`), sessions on
//! a connection of their own (`session`, `pubsub`), and what is answered here (`answers`).

pub(crate) mod answers;
mod dispatch;
mod everywhere;
mod intake;
mod pubsub;
mod replies;
mod session;
mod split;

pub(crate) use everywhere::Whole;
pub(crate) use split::Split;

use crate::backend::BackendId;
use crate::link::LinkId;
use crate::worker::Listener;
use keyway_proto::resp::{self, Cut, Limits, Progress};
use std::rc::Rc;

/// What is known of a client that speaks RESP.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Protocol version, name, login.
    pub session: answers::Session,
    /// How far the request at the front of its bytes has been read.
    pub progress: Progress,
    /// Its transaction, or what else ties it to one server.
    pub pinned: Option<Pinned>,
    /// Its subscriptions.
    pub subscriber: Option<Subscriber>,
    /// It has used a connection of its own for a blocking command.
    pub is_blocked: bool,
    /// Messages that came while a reply was half sent.
    pub pushes: Vec<u8>,
}

/// A client's tie to one server.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// The routes it began with: a reload does not part its keys.
    pub listener: Rc<Listener>,
    /// The server and the connection to it; not known before the first key.
    pub place: Option<(BackendId, LinkId)>,
    /// `MULTI` was said.
    pub in_multi: bool,
    /// `WATCH` was said.
    pub is_watching: bool,
    /// `CLIENT TRACKING ON` was said: everything goes to this server.
    pub is_tracking: bool,
    /// A command was refused, or the connection was lost: `EXEC` must not do anything.
    pub is_dirty: bool,
}

/// A client's subscriptions.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub link: LinkId,
    /// It was asked whether the client is subscribed still; the client waits for the answer.
    pub is_asking: bool,
    /// What the last answer was.
    pub is_subscribed: bool,
}

impl Pinned {
    /// A tie to a server that is not known yet.
    pub fn new(listener: &Rc<Listener>) -> Pinned {
        Pinned {
            listener: listener.clone(),
            place: None,
            in_multi: false,
            is_watching: false,
            is_tracking: false,
            is_dirty: false,
        }
    }

    /// The transaction is over, however it ended.
    pub fn end(&mut self) {
        self.in_multi = false;
        self.is_watching = false;
        self.is_dirty = false;
    }

    /// Whether the client is free again.
    pub fn is_over(&self) -> bool {
        !self.in_multi && !self.is_watching && !self.is_tracking
    }
}

/// Cuts a request that was rendered before.
pub(crate) fn again(wire: &[u8]) -> resp::Request<'_> {
    let limits = Limits { arguments_max: u32::MAX, bulk_bytes_max: usize::MAX, ..Limits::REDIS };
    let Cut::Request(request) = resp::request::cut(wire, &limits, &mut Progress::default()) else {
        unreachable!("a request that was cut before is cut again");
    };
    request
}
