//! The embedded store behind RESP in this process, with a clock that tests may move.

use keyway_proto::resp::{Cut, Limits, Progress, Request, request};
use keyway_proxy::config::Allow;
use keyway_proxy::local::{Context, Facts, Output, Settings, Shared, redis};
use keyway_store::{Options, Store};
use keyway_testkit::resp;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A store and what its commands need besides.
pub struct Local {
    pub store: Store,
    pub shared: Arc<Shared>,
    pub may_flush: bool,
    started: Instant,
    /// How long the process has run; none follows the real clock.
    pub uptime: Option<Duration>,
    /// Bytes of the output; kept between requests.
    output: Output,
}

impl Local {
    /// A store that follows the real clock.
    pub fn new() -> Local {
        Local::with(Options::new(64 << 20))
    }

    pub fn with(options: Options) -> Local {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let item_size_max = u64::from(options.item_bytes_max);
        let settings = Settings { item_size_max, ..Settings::default() };
        Local {
            store: Store::new(options),
            shared: Shared::new(settings, 1, unix, Box::new(Facts::default)),
            may_flush: true,
            started: Instant::now(),
            uptime: None,
            output: Output::new(),
        }
    }

    /// A store whose clock stands still at Unix time 1,700,000,000.250.
    pub fn at_rest() -> Local {
        let mut local = Local::new();
        let started = Duration::from_millis(1_700_000_000_000);
        local.shared = Shared::new(Settings::default(), 1, started, Box::new(Facts::default));
        local.uptime = Some(Duration::from_millis(250));
        local
    }

    /// Lets so many milliseconds pass.
    pub fn pass(&mut self, millis: u64) {
        let uptime = self.uptime.as_mut().unwrap();
        *uptime += Duration::from_millis(millis);
    }

    fn context(&self) -> Context<'_> {
        Context {
            store: &self.store,
            shared: &self.shared,
            counters: self.shared.counters(0),
            now: Shared::now(self.uptime.unwrap_or_else(|| self.started.elapsed())),
            allow: Allow { flush: self.may_flush, ..Allow::default() },
            users: &[],
            cfd: 1,
            is_pipelined: false,
        }
    }

    /// The reply to a request of `args`.
    pub fn ask<A: AsRef<[u8]>>(&mut self, resp3: bool, args: &[A]) -> Vec<u8> {
        let bytes = resp::request(args);
        self.exchange(resp3, &cut(&bytes))
    }

    /// The reply to a request.
    pub fn exchange(&mut self, resp3: bool, request: &Request<'_>) -> Vec<u8> {
        let mut output = std::mem::take(&mut self.output);
        redis::execute(&self.context(), resp3, request, &mut output);
        output.flatten();
        let reply = output.bytes.clone();
        output.clear();
        self.output = output;
        reply
    }

    /// Carries out a request and sends its reply nowhere.
    pub fn run(&mut self, resp3: bool, request: &Request<'_>) {
        let mut output = std::mem::take(&mut self.output);
        redis::execute(&self.context(), resp3, request, &mut output);
        output.pieces(|_| {});
        self.output = output;
    }

    /// The reply to the words of `line` as text, in RESP2.
    pub fn say(&mut self, line: &str) -> String {
        let reply = self.ask(false, &line.split(' ').collect::<Vec<_>>());
        String::from_utf8_lossy(&reply).replace("\r\n", " ").trim_end().to_owned()
    }
}

/// The request that `bytes` are.
pub fn cut(bytes: &[u8]) -> Request<'_> {
    match request::cut(bytes, &Limits::REDIS, &mut Progress::default()) {
        Cut::Request(request) => request,
        other => panic!("no request: {other:?}"),
    }
}
