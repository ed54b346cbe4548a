//! What one Redis client's earlier commands have set: its protocol, its user, its names.
//!
//! There is one for each client, so it is small; names live in a box that most clients never
//! need.

/// Longest name, user name or library name that is kept for a client, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// What a client's connection commands have set.
#[derive(Debug)]
pub struct Session {
    id: u64,
    since_seconds: u32,
    replies: Replies,
    is_resp3: bool,
    is_authenticated: bool,
    keeps_memory: bool,
    keeps_uses: bool,
    names: Option<Box<Names>>,
}

// Ten thousand idle clients must stay small.
const _: () = assert!(size_of::<Session>() <= 32);

/// What a client calls itself. Empty means not set; the user that is not set is `default`.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub user: Vec<u8>,
    pub name: Vec<u8>,
    pub library: Vec<u8>,
    pub library_version: Vec<u8>,
}

/// Which replies a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replies {
    All,
    /// None until it asks for them again.
    Off,
    /// None to the next request.
    SkipNext,
    /// None to this request.
    Skip,
}

static NO_NAMES: Names =
    Names { user: Vec::new(), name: Vec::new(), library: Vec::new(), library_version: Vec::new() };

impl Session {
    /// A client that has said nothing yet: number `id` of all clients of the process, connected
    /// at this second of the store's clock. If `asks_auth`, it has to authenticate first.
    pub fn new(id: u64, now_seconds: u32, asks_auth: bool) -> Session {
        Session {
            id,
            since_seconds: now_seconds,
            replies: Replies::All,
            is_resp3: false,
            is_authenticated: !asks_auth,
            keeps_memory: false,
            keeps_uses: false,
            names: None,
        }
    }

    /// What `CLIENT ID` says: a number that no other client of this process gets.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether replies are due in RESP3: the client said `HELLO 3` last.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.is_resp3
    }

    /// Whether the client may send ordinary commands.
    #[inline]
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    /// Starts the next request and says whether the client wants no reply to it. Has to be called
    /// once for each request, before anything else looks at it.
    #[inline]
    pub fn begin_request(&mut self) -> bool {
        self.replies != Replies::All && self.begin_muted()
    }

    #[cold]
    fn begin_muted(&mut self) -> bool {
        self.replies = match self.replies {
            Replies::All | Replies::Skip => Replies::All,
            Replies::Off => Replies::Off,
            Replies::SkipNext => Replies::Skip,
        };
        self.is_muted()
    }

    /// Whether the reply to the request that was begun last is dropped.
    #[inline]
    pub fn is_muted(&self) -> bool {
        self.replies != Replies::All
    }

    /// `CLIENT REPLY ON`, to which there is a reply again.
    pub(super) fn take_replies(&mut self) {
        self.replies = Replies::All;
    }

    /// `CLIENT REPLY OFF`.
    pub(super) fn drop_replies(&mut self) {
        self.replies = Replies::Off;
    }

    /// `CLIENT REPLY SKIP`. Means nothing to a client that gets no replies anyway.
    pub(super) fn skip_reply(&mut self) {
        if self.replies != Replies::Off {
            self.replies = Replies::SkipNext;
        }
    }

    pub(super) fn since_seconds(&self) -> u32 {
        self.since_seconds
    }

    pub(super) fn set_resp3(&mut self, is_resp3: bool) {
        self.is_resp3 = is_resp3;
    }

    /// Lets the client in as this user.
    pub(super) fn authenticate(&mut self, user: &[u8]) {
        self.is_authenticated = true;
        let user = if user == b"default" { b"" } else { user };
        if !user.is_empty() || self.names.is_some() {
            self.names_mut().user = user.to_vec();
        }
    }

    pub(super) fn forget_authentication(&mut self) {
        self.is_authenticated = false;
    }

    pub(super) fn names(&self) -> &Names {
        self.names.as_deref().unwrap_or(&NO_NAMES)
    }

    pub(super) fn names_mut(&mut self) -> &mut Names {
        self.names.get_or_insert_default()
    }

    /// The user's name.
    pub(super) fn user(&self) -> &[u8] {
        let user = self.names().user.as_slice();
        if user.is_empty() { b"default" } else { user }
    }

    /// `CLIENT NO-EVICT` and `CLIENT NO-TOUCH`: kept only to be shown, since neither means
    /// anything to a proxy.
    pub(super) fn keep(&mut self, memory: Option<bool>, uses: Option<bool>) {
        self.keeps_memory = memory.unwrap_or(self.keeps_memory);
        self.keeps_uses = uses.unwrap_or(self.keeps_uses);
    }

    /// The letters of `flags=` in `CLIENT INFO`.
    pub(super) fn flags(&self) -> &'static str {
        match (self.keeps_memory, self.keeps_uses) {
            (false, false) => "N",
            (true, false) => "e",
            (false, true) => "T",
            (true, true) => "eT",
        }
    }

    /// `RESET`: as after connecting. The number stays.
    pub(super) fn reset(&mut self, asks_auth: bool) {
        *self = Session::new(self.id, self.since_seconds, asks_auth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_left_out_as_asked() {
        let mut session = Session::new(1, 0, false);
        assert!(!session.begin_request());
        session.skip_reply();
        assert!(session.is_muted(), "no reply to the command that asks for it");
        assert!(session.begin_request());
        assert!(!session.begin_request());
        session.drop_replies();
        assert!(session.begin_request() && session.begin_request());
        session.skip_reply();
        assert!(session.begin_request() && session.begin_request());
        session.take_replies();
        assert!(!session.is_muted() && !session.begin_request());
    }

    #[test]
    fn a_reset_client_is_as_new_but_for_its_number() {
        let mut session = Session::new(7, 3, true);
        assert!(!session.is_authenticated());
        session.authenticate(b"alice");
        session.set_resp3(true);
        session.drop_replies();
        session.names_mut().name = b"n".to_vec();
        assert_eq!((session.user(), session.is_authenticated()), (b"alice".as_slice(), true));
        session.reset(true);
        assert_eq!((session.id(), session.since_seconds()), (7, 3));
        assert_eq!((session.user(), session.names().name.len()), (b"default".as_slice(), 0));
        assert!(!session.is_authenticated() && !session.is_resp3() && !session.is_muted());
    }
}
