//! The worker's cutting loop without a worker: bytes in, bytes out.
//!
//! Does with the library's functions what `worker.rs` does for a client of the embedded store, one
//! client at a time, and with a clock that tests can set ahead.

use keyway_proto::memcached::binary::{BinaryCut, HEADER_BYTES, cut_request};
use keyway_proto::memcached::{Cut, LineLimits, cut_with};
use keyway_proxy::config::{Allow, User};
use keyway_proxy::local::{
    Admission, Context, Facts, Next, Output, Session, Settings, Shared, Watching, admit, binary,
    execute, more,
};
use keyway_store::{Options, Store};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One client of the embedded store.
pub struct Local {
    pub store: Arc<Store>,
    pub shared: Arc<Shared>,
    /// What the client may do.
    pub allow: Allow,
    /// Who may use the store; empty for everybody.
    pub users: Vec<User>,
    /// Seconds that the clock is ahead of time.
    pub ahead: u64,
    /// Given when the client asked to watch.
    pub watching: Option<Watching>,
    started: Instant,
    session: Session,
    pending: Vec<u8>,
    swallow: u64,
}

impl Local {
    pub fn new() -> Local {
        Local::with(Settings::default(), Options::new(64 << 20))
    }

    pub fn with(settings: Settings, options: Options) -> Local {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Local {
            store: Arc::new(Store::new(options)),
            shared: Shared::new(settings, 1, Duration::from_secs(unix), Box::new(Facts::default)),
            allow: Allow { flush: true, ..Allow::default() },
            users: Vec::new(),
            ahead: 0,
            watching: None,
            started: Instant::now(),
            session: Session::new(),
            pending: Vec::new(),
            swallow: 0,
        }
    }

    /// Everything that is answered to `bytes`. A close shows as `(closed)`; what stands behind it
    /// is lost, and the next exchange is that of a new client.
    pub fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.pending);
        input.extend_from_slice(bytes);
        let mut replies = Vec::new();
        let mut at = 0;
        while at < input.len() {
            if self.swallow > 0 {
                let skipped = self.swallow.min((input.len() - at) as u64);
                self.swallow -= skipped;
                at += skipped as usize;
                continue;
            }
            match self.request(&input[at..], &mut replies) {
                Some(0) => break,
                Some(used) => at += used,
                None => {
                    self.session = Session::new();
                    replies.extend_from_slice(b"(closed)\r\n");
                    return replies;
                }
            }
        }
        self.pending = input.split_off(at);
        replies
    }

    /// Bytes used up by the request at the front: 0 if it is not complete, none to close.
    fn request(&mut self, bytes: &[u8], replies: &mut Vec<u8>) -> Option<usize> {
        let mut out = Output::new();
        let shared = Arc::clone(&self.shared);
        let store = Arc::clone(&self.store);
        let users = self.users.clone();
        let ctx = Context {
            store: &store,
            shared: &shared,
            counters: shared.counters(0),
            now: Shared::now(self.started.elapsed() + Duration::from_secs(self.ahead)),
            allow: self.allow,
            users: &users,
            cfd: 1,
            is_pipelined: false,
        };
        let (used, next) = match cut_with(bytes, &LineLimits::STORE, 0) {
            Cut::Partial => return Some(0),
            Cut::TooLong => return None,
            Cut::Binary => self.packet(&ctx, bytes, &mut out)?,
            Cut::Head(head) => {
                let there = &bytes[head.line_bytes..];
                match admit(&ctx, &self.session, &head, there.len(), &mut out) {
                    Admission::Close => (0, Next::Close),
                    Admission::Refuse { swallow } => {
                        self.swallow = swallow;
                        (head.line_bytes, Next::Continue)
                    }
                    Admission::Read(body) if body > there.len() as u64 => return Some(0),
                    Admission::Read(body) => {
                        let value = &there[..body as usize];
                        let next = execute(&ctx, &mut self.session, &head, value, &mut out);
                        (head.line_bytes + body as usize, next)
                    }
                }
            }
        };
        let goes_on = self.obey(&ctx, next, &mut out, replies);
        goes_on.then_some(used)
    }

    fn packet(
        &mut self,
        ctx: &Context<'_>,
        bytes: &[u8],
        out: &mut Output,
    ) -> Option<(usize, Next)> {
        let header = match cut_request(bytes) {
            BinaryCut::Head(header) => header,
            BinaryCut::Partial => return Some((0, Next::Continue)),
            BinaryCut::Malformed => {
                binary::refuse_malformed(bytes, out);
                return Some((0, Next::Close));
            }
        };
        let there = &bytes[HEADER_BYTES..];
        Some(match binary::admit(ctx, &header, there, out) {
            Admission::Close => (0, Next::Close),
            Admission::Refuse { swallow } => {
                self.swallow = swallow;
                (HEADER_BYTES, Next::Continue)
            }
            Admission::Read(body) if body > there.len() as u64 => (0, Next::Continue),
            Admission::Read(body) => {
                let body = &there[..body as usize];
                let next = binary::execute(ctx, &mut self.session, &header, body, out);
                (HEADER_BYTES + body.len(), next)
            }
        })
    }

    /// False to close.
    fn obey(
        &mut self,
        ctx: &Context<'_>,
        mut next: Next,
        out: &mut Output,
        replies: &mut Vec<u8>,
    ) -> bool {
        loop {
            out.flatten();
            replies.append(&mut out.bytes);
            match next {
                Next::Continue => return true,
                Next::More => next = more(ctx, &mut self.session, out),
                Next::Watch(watching) => {
                    self.watching = Some(watching);
                    return true;
                }
                Next::Close | Next::Shutdown { .. } => return false,
            }
        }
    }
}
