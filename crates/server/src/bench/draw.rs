//! What chance decides: the next key, the next operation, the size of a value.
//!
//! Every draw follows from the seed, so that two runs with the same options send the same requests
//! in the same order on each connection's thread, and the size of a key's value is known when it
//! comes back.

use std::str::FromStr;

/// A small fast generator (SplitMix64); not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers follow from `seed` and from `stream`, such as a thread's number.
    pub fn new(seed: u64, stream: u64) -> Random {
        Random(mix(seed) ^ mix(stream.wrapping_mul(GOLDEN).wrapping_add(1)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Evenly below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Evenly in 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Spreads the bits of `value` over the result; a bijection.
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Ranks 1 to `count` where rank k comes up in proportion to k to the power of `-exponent`.
///
/// Hörmann and Derflinger's rejection from the inverted integral: constant time and memory for any
/// number of ranks, and hardly ever a second try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zipf {
    count: f64,
    exponent: f64,
    low: f64,
    high: f64,
    accept: f64,
}

impl Zipf {
    /// `count` at least 1, `exponent` above 0.
    pub fn new(count: u64, exponent: f64) -> Zipf {
        let count = count.max(1) as f64;
        let mut zipf = Zipf { count, exponent, low: 0.0, high: 0.0, accept: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(count + 0.5);
        zipf.accept = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// A rank from 1.
    pub fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.high + random.unit() * (self.low - self.high);
            let exact = self.inverse(area);
            let rank = exact.round().clamp(1.0, self.count);
            if rank - exact <= self.accept || area >= self.integral(rank + 0.5) - self.weight(rank)
            {
                return rank as u64;
            }
        }
    }

    fn weight(&self, rank: f64) -> f64 {
        rank.powf(-self.exponent)
    }

    fn integral(&self, rank: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 { rank.ln() } else { (rank.powf(power) - 1.0) / power }
    }

    fn inverse(&self, area: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 {
            area.exp()
        } else {
            (1.0 + area * power).max(0.0).powf(1.0 / power)
        }
    }
}

/// Which keys are popular.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// All alike.
    Uniform,
    /// The k-th key in proportion to k to the power of minus this exponent.
    Zipf(f64),
}

impl FromStr for KeyDistribution {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyDistribution, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("uniform", "") => Ok(KeyDistribution::Uniform),
            ("zipf", "") => Ok(KeyDistribution::Zipf(ZIPF_EXPONENT)),
            ("zipf", exponent) => Ok(KeyDistribution::Zipf(read_exponent(exponent)?)),
            _ => Err("expected uniform, zipf or zipf:EXPONENT".into()),
        }
    }
}

/// A [`KeyDistribution`] over a number of keys.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// All alike below this number.
    Uniform(u64),
    /// Ranks, counted from 1.
    Zipf(Zipf),
}

impl Keys {
    /// Of `count` keys.
    pub fn new(distribution: KeyDistribution, count: u64) -> Keys {
        match distribution {
            KeyDistribution::Uniform => Keys::Uniform(count),
            KeyDistribution::Zipf(exponent) => Keys::Zipf(Zipf::new(count, exponent)),
        }
    }

    /// The number of a key, from 0.
    pub fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Keys::Uniform(count) => random.below(*count),
            Keys::Zipf(zipf) => zipf.draw(random) - 1,
        }
    }
}

/// How large values are, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueSize {
    /// Evenly between the first and the last, both included.
    Uniform(u32, u32),
    /// From the first up: one more byte is less likely, by Zipf's law.
    Zipf {
        /// Smallest size.
        first: u32,
        /// The law over the sizes from there.
        law: Zipf,
    },
    /// Some sizes, each in proportion to its weight: (sum of the weights so far, size).
    Listed(Vec<(u64, u32)>),
}

impl ValueSize {
    /// The size for the value of the key with this number; always the same for one seed.
    pub fn of(&self, seed: u64, key: u64) -> u32 {
        match self {
            ValueSize::Uniform(first, last) if first == last => *first,
            ValueSize::Uniform(first, last) => {
                let count = u64::from(last - first) + 1;
                first + Random::new(seed, key).below(count) as u32
            }
            ValueSize::Zipf { first, law } => {
                first + (law.draw(&mut Random::new(seed, key)) - 1) as u32
            }
            ValueSize::Listed(sizes) => {
                let total = sizes.last().map_or(0, |(sum, _)| *sum);
                let draw = Random::new(seed, key).below(total);
                let at = sizes.partition_point(|(sum, _)| *sum <= draw);
                sizes.get(at).map_or(0, |(_, size)| *size)
            }
        }
    }
}

impl FromStr for ValueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ValueSize, String> {
        if let Some(rest) = text.strip_prefix("zipf:") {
            let (range, exponent) = rest.split_once(':').unwrap_or((rest, ""));
            let (first, last) = read_range(range)?;
            let exponent =
                if exponent.is_empty() { ZIPF_EXPONENT } else { read_exponent(exponent)? };
            let law = Zipf::new(u64::from(last - first) + 1, exponent);
            return Ok(ValueSize::Zipf { first, law });
        }
        if !text.contains(['*', ',']) {
            let (first, last) = read_range(text)?;
            return Ok(ValueSize::Uniform(first, last));
        }
        let mut sum = 0u64;
        let mut sizes = Vec::new();
        for item in text.split(',') {
            let (size, weight) = item.split_once('*').unwrap_or((item, "1"));
            let weight: u32 = weight.parse().map_err(|_| format!("{weight} is no weight"))?;
            sum += u64::from(weight);
            sizes.push((sum, read_size(size)?));
        }
        if sum == 0 {
            return Err("the weights are all zero".into());
        }
        Ok(ValueSize::Listed(sizes))
    }
}

fn read_range(text: &str) -> Result<(u32, u32), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (read_size(first)?, read_size(last)?);
    if first > last { Err(format!("{first} is above {last}")) } else { Ok((first, last)) }
}

fn read_size(text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 1 << 10),
        Some(b'm') => (&lower[..lower.len() - 1], 1 << 20),
        _ => (&lower[..], 1),
    };
    let size: Option<u32> = digits.parse().ok().and_then(|number: u32| number.checked_mul(unit));
    size.filter(|size| *size <= VALUE_BYTES_MAX)
        .ok_or_else(|| format!("{text:?} is no size from 0 to 1024m"))
}

fn read_exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|exponent: &f64| *exponent > 0.0 && *exponent <= 20.0);
    exponent.ok_or_else(|| format!("{text:?} is no exponent above 0"))
}

/// Largest value that is sent.
const VALUE_BYTES_MAX: u32 = 1 << 30;
/// Exponent of `zipf` where none is given: what key popularity in caches is usually found to be
/// near.
const ZIPF_EXPONENT: f64 = 0.99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_draws_each_rank_as_often_as_its_law_says() {
        for exponent in [0.5, 0.99, 1.0, 1.7] {
            let (count, draws) = (50usize, 200_000);
            let zipf = Zipf::new(count as u64, exponent);
            let mut random = Random::new(7, 0);
            let mut seen = vec![0u32; count + 1];
            (0..draws).for_each(|_| seen[zipf.draw(&mut random) as usize] += 1);
            let total: f64 = (1..=count).map(|rank| (rank as f64).powf(-exponent)).sum();
            for rank in [1, 2, 3, 10, 50] {
                let expected = f64::from(draws) * (rank as f64).powf(-exponent) / total;
                let off = (f64::from(seen[rank]) - expected).abs();
                assert!(off < 6.0 * expected.sqrt() + 5.0, "{exponent} {rank} {off} {expected}");
            }
            assert_eq!(seen[0], 0);
        }
    }

    #[test]
    fn a_zipf_of_one_rank_draws_it() {
        let zipf = Zipf::new(1, 0.99);
        let mut random = Random::new(1, 1);
        assert!((0..1000).all(|_| zipf.draw(&mut random) == 1));
    }

    #[test]
    fn sizes_are_read_and_stay_in_their_range() {
        let size = |text: &str| text.parse::<ValueSize>();
        assert_eq!(size("100"), Ok(ValueSize::Uniform(100, 100)));
        assert_eq!(size("1k-2K"), Ok(ValueSize::Uniform(1024, 2048)));
        for text in ["100-1000", "zipf:100-1000", "zipf:100-1000:1.5", "100*9,1000*1", "100,1000"] {
            let sizes = size(text).unwrap();
            let drawn: Vec<u32> = (0..2000).map(|key| sizes.of(3, key)).collect();
            assert!(drawn.iter().all(|size| (100..=1000).contains(size)), "{text}");
            assert!(drawn.contains(&100) || text.starts_with("100-"), "{text}");
            assert!(drawn.iter().any(|size| *size > 500), "{text}");
            assert_eq!(drawn[17], sizes.of(3, 17), "a key's size does not change");
        }
        let nines = size("100*9,1000*1").unwrap();
        let large = (0..10_000).filter(|key| nines.of(1, *key) == 1000).count();
        assert!((800..1200).contains(&large), "{large}");
        for text in ["", "x", "-5", "10-5", "zipf:5", "zipf:1-5:0", "100*0", "2000m", "1*x"] {
            assert_eq!(size(text).is_err(), text != "zipf:5", "{text}");
        }
    }

    #[test]
    fn key_distributions_are_read() {
        let read = |text: &str| text.parse::<KeyDistribution>();
        assert_eq!(read("uniform"), Ok(KeyDistribution::Uniform));
        assert_eq!(read("zipf"), Ok(KeyDistribution::Zipf(0.99)));
        assert_eq!(read("zipf:1.2"), Ok(KeyDistribution::Zipf(1.2)));
        assert!(read("uniform:2").is_err() && read("zipf:x").is_err() && read("").is_err());
    }
}
