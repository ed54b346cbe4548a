//! The words of `-o`.
//!
//! Most tune memcached's slabs and LRU, which our store does not have. They are checked as
//! memcached checks them and kept for `stats settings`.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};

use keyway_proxy::local::AtomicF64;

use super::flag::Arguments;
use super::number::{atof, atoi, strict_f64, strict_i32, strict_u32};
use super::{EXIT_FAILURE, Stop, Stream};

/// What a word has after its `=`.
#[derive(Clone, Copy)]
struct Word<'a> {
    name: &'a str,
    value: Option<&'a [u8]>,
}

impl<'a> Word<'a> {
    /// The value, which must be there. `what` is how the message about its absence ends.
    fn required(&self, missing: &str) -> Result<&'a [u8], Stop> {
        self.value.ok_or_else(|| fail(missing.replace("{}", self.name)))
    }

    fn number(&self) -> Result<i32, Stop> {
        self.required("Missing {} argument").map(atoi)
    }

    fn fraction(&self) -> Result<f64, Stop> {
        self.required("Missing {} argument").map(atof)
    }

    fn unparsable(&self) -> Stop {
        fail(format!("could not parse argument to {}", self.name))
    }

    fn strict_u32(&self) -> Result<u32, Stop> {
        let value = self.required("Missing {} argument")?;
        strict_u32(value).ok_or_else(|| self.unparsable())
    }
}

fn fail(message: impl Into<String>) -> Stop {
    Stop::new(EXIT_FAILURE, message)
}

impl Arguments {
    /// Reads one `-o` list.
    pub(super) fn words(&mut self, list: &[u8]) -> Result<(), Stop> {
        let mut rest = list;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b',');
            let (word, after) = match end {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, &b""[..]),
            };
            rest = after;
            self.word(word)?;
        }
        Ok(())
    }

    fn word(&mut self, text: &[u8]) -> Result<(), Stop> {
        let (name, value) = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let word = Word { name: std::str::from_utf8(name).unwrap_or(""), value };
        let is_known = self.switch(word.name)
            || self.cache_word(word)?
            || self.slab_word(word)?
            || self.lru_word(word)?
            || self.absent_word(word)?;
        if is_known {
            return Ok(());
        }
        let text = format!("Illegal suboption \"{}\"\n", String::from_utf8_lossy(text));
        Err(Stop { stream: Stream::Stdout, text, exit: EXIT_FAILURE })
    }

    /// Words without a value.
    fn switch(&mut self, name: &str) -> bool {
        let settings = &mut self.settings;
        match name {
            "maxconns_fast" => settings.maxconns_fast = true,
            "no_maxconns_fast" => settings.maxconns_fast = false,
            "slab_reassign" => settings.slab_reassign = true,
            "no_slab_reassign" => settings.slab_reassign = false,
            "no_slab_automove" => settings.slab_automove = AtomicU32::new(0),
            "lru_crawler" => settings.lru_crawler = AtomicBool::new(true),
            "no_lru_crawler" => settings.lru_crawler = AtomicBool::new(false),
            "lru_maintainer" => self.set_lru_maintainer(true),
            "no_lru_maintainer" => self.set_lru_maintainer(false),
            "no_chunked_items" => settings.slab_chunk_max = SLAB_PAGE_BYTES,
            "track_sizes" => settings.track_sizes = true,
            "drop_privileges" => settings.drop_privileges = true,
            "no_drop_privileges" => settings.drop_privileges = false,
            "no_modern" => self.no_modern(),
            "resp_obj_mem_limit" => self.warnings.push_str(
                "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit,\n",
            ),
            "no_hashexpand"
            | "inline_ascii_resp"
            | "no_inline_ascii_resp"
            | "modern"
            | "relaxed_privileges"
            | "proxy_uring"
            | "proxy_memprofile"
            | "proxy_arg"
            | "sock_cookie_id"
            | "ext_drop_unread" => {}
            _ => return false,
        }
        true
    }

    fn set_lru_maintainer(&mut self, is_on: bool) {
        self.settings.lru_maintainer_thread = is_on;
        self.settings.lru_segmented = AtomicBool::new(is_on);
    }

    fn no_modern(&mut self) {
        if !self.is_slab_chunk_set {
            self.settings.slab_chunk_max = SLAB_PAGE_BYTES;
        }
        self.settings.slab_reassign = false;
        self.settings.slab_automove = AtomicU32::new(0);
        self.settings.maxconns_fast = false;
        self.settings.hash_algorithm = "jenkins".to_owned();
        self.settings.lru_crawler = AtomicBool::new(false);
        self.set_lru_maintainer(false);
    }

    /// Words about the process, its clients and its hash table.
    fn cache_word(&mut self, word: Word<'_>) -> Result<bool, Stop> {
        match word.name {
            "hashpower" => {
                let power = atoi(word.required("Missing numeric argument for {}")?);
                let too =
                    |what| fail(format!("Initial hashtable multiplier of {power} is too {what}"));
                match power {
                    12..=32 => self.settings.hashpower_init = power as u32,
                    ..12 => return Err(too("low")),
                    _ => {
                        let hint = "Choose a value based on \"STAT hash_power_level\" from a \
                                    running instance";
                        return Err(too(&format!("high\n{hint}")));
                    }
                }
            }
            "hash_algorithm" => {
                let value = word.required("Missing {} argument")?;
                let known = ["jenkins", "murmur3", "xxh3"];
                let name = known.into_iter().find(|name| name.as_bytes() == value);
                let unknown = "Unknown hash_algorithm option (jenkins, murmur3, xxh3)";
                self.settings.hash_algorithm = name.ok_or_else(|| fail(unknown))?.to_owned();
            }
            "tail_repair_time" => {
                let seconds = atoi(word.required("Missing numeric argument for {}")?);
                if seconds < 10 {
                    return Err(fail("Cannot set tail_repair_time to less than 10 seconds"));
                }
                self.settings.tail_repair_time = seconds as u32;
            }
            "idle_timeout" => {
                let seconds = atoi(word.required("Missing numeric argument for {}")?);
                self.settings.idle_timeout = u32::try_from(seconds).unwrap_or(0);
            }
            "watcher_logbuf_size" => {
                self.settings.watcher_logbuf_size = word.strict_u32()?.wrapping_mul(1 << 10);
            }
            "worker_logbuf_size" => {
                self.settings.worker_logbuf_size = word.strict_u32()?.wrapping_mul(1 << 10);
            }
            "read_buf_mem_limit" => {
                self.settings.read_buf_mem_limit = word.strict_u32()?.wrapping_mul(1 << 20);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn slab_word(&mut self, word: Word<'_>) -> Result<bool, Stop> {
        match word.name {
            "slab_automove" => {
                let mode = word.value.map_or(1, atoi);
                let refused = || fail("slab_automove must be between 0 and 2");
                let mode = u32::try_from(mode).ok().filter(|mode| *mode <= 2);
                self.settings.slab_automove = AtomicU32::new(mode.ok_or_else(refused)?);
            }
            "slab_automove_ratio" => {
                let ratio = word.fraction()?;
                if ratio <= 0.0 || ratio > 1.0 {
                    return Err(fail("slab_automove_ratio must be > 0 and < 1"));
                }
                self.settings.slab_automove_ratio = AtomicF64::new(ratio);
            }
            "slab_automove_window" => {
                let window = word.number()?;
                if !(3..=1800).contains(&window) {
                    return Err(fail("slab_automove_window must be > 2 and < 1800"));
                }
                self.settings.slab_automove_window = AtomicU32::new(window as u32);
            }
            "slab_automove_freeratio" => {
                let value = word.required("Missing {} argument")?;
                let ratio = strict_f64(value).ok_or_else(|| word.unparsable())?;
                self.settings.slab_automove_freeratio = AtomicF64::new(ratio);
            }
            "slab_sizes" => {
                // memcached crashes without a value; here it is missed as with the other words.
                let sizes = word.required("Missing {} argument")?;
                self.slab_sizes = Some(String::from_utf8_lossy(sizes).into_owned());
            }
            "slab_chunk_max" => {
                let value = word.required("Missing {} argument")?;
                let size = strict_i32(value).ok_or_else(|| word.unparsable())?;
                if size <= 0 {
                    return Err(fail("slab_chunk_max must be >= 0"));
                }
                if size > 1 << 10 {
                    return Err(fail("slab_chunk_max must be specified in kilobytes."));
                }
                self.settings.slab_chunk_max = (size as u32) << 10;
                self.is_slab_chunk_set = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn lru_word(&mut self, word: Word<'_>) -> Result<bool, Stop> {
        match word.name {
            "lru_crawler_sleep" => {
                let sleep = atoi(word.required("Missing {} value")?);
                let refused = || fail("LRU crawler sleep must be between 0 and 1 second");
                let sleep = u32::try_from(sleep).ok().filter(|sleep| *sleep <= 1_000_000);
                self.settings.lru_crawler_sleep = AtomicU32::new(sleep.ok_or_else(refused)?);
            }
            "lru_crawler_tocrawl" => {
                let value = word.required("Missing {} value")?;
                let refused = || fail("lru_crawler_tocrawl takes a numeric 32bit value");
                let count = strict_u32(value).ok_or_else(refused)?;
                self.settings.lru_crawler_tocrawl = AtomicU32::new(count);
            }
            "hot_lru_pct" => self.settings.hot_lru_pct = AtomicU32::new(share(word)?),
            "warm_lru_pct" => self.settings.warm_lru_pct = AtomicU32::new(share(word)?),
            "hot_max_factor" => self.settings.hot_max_factor = AtomicF64::new(factor(word)?),
            "warm_max_factor" => self.settings.warm_max_factor = AtomicF64::new(factor(word)?),
            "temporary_ttl" => {
                let seconds = word.number()?;
                self.settings.temp_lru = AtomicBool::new(true);
                self.settings.temporary_ttl = AtomicI32::new(seconds);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Words of features that are not there yet.
    fn absent_word(&mut self, word: Word<'_>) -> Result<bool, Stop> {
        let refused = match word.name {
            "proxy_config" => {
                word.required("Missing {} file argument")?;
                if self.protocol.is_some() {
                    return Err(fail("Cannot specify a protocol with proxy mode enabled"));
                }
                "Lua configurations of the proxy cannot be run yet. Write the pools and routes \
                 into a native file and start `keyway --config keyway.toml`"
            }
            "ext_path" => {
                "the flash tier is not there yet. Leave ext_path out and give the memory with -m"
            }
            name if name.starts_with("ssl_") => {
                "TLS is not there yet. Leave the ssl_ options and -Z out, or put a TLS terminator \
                 in front"
            }
            // The other words of the flash tier mean nothing without ext_path.
            name if EXT_WORDS.contains(&name) => {
                word.required("Missing {} argument")?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        Err(fail(format!("-o {}: {refused}.", word.name)))
    }
}

/// The value of `hot_lru_pct` or `warm_lru_pct`.
fn share(word: Word<'_>) -> Result<u32, Stop> {
    let share = word.number()?;
    if !(1..80).contains(&share) {
        return Err(fail(format!("{} must be > 1 and < 80", word.name)));
    }
    Ok(share as u32)
}

/// The value of `hot_max_factor` or `warm_max_factor`.
fn factor(word: Word<'_>) -> Result<f64, Stop> {
    let factor = word.fraction()?;
    if factor <= 0.0 {
        return Err(fail(format!("{} must be > 0", word.name)));
    }
    Ok(factor)
}

/// Size of memcached's slab pages.
pub(super) const SLAB_PAGE_BYTES: u32 = 1 << 20;

const EXT_WORDS: [&str; 12] = [
    "ext_page_size",
    "ext_wbuf_size",
    "ext_threads",
    "ext_io_depth",
    "ext_item_size",
    "ext_item_age",
    "ext_low_ttl",
    "ext_recache_rate",
    "ext_compact_under",
    "ext_drop_under",
    "ext_max_sleep",
    "ext_max_frag",
];
