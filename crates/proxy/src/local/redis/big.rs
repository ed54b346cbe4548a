//! Natural numbers of any length, for reading and writing extended-precision numbers exactly.

use std::cmp::Ordering;

/// A natural number of any length, lowest part first, without zeros at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(number: u64) -> Big {
        Big(vec![number as u32, (number >> 32) as u32]).trimmed()
    }
}

/// Decimal digits that are multiplied in at once.
pub(super) const PART_DIGITS: usize = 9;

impl Big {
    pub(super) fn power_of_ten(exponent: u64) -> Big {
        let (parts, rest) = (exponent / PART_DIGITS as u64, exponent % PART_DIGITS as u64);
        let mut power = Big::from(10u64.pow(rest as u32));
        for _ in 0..parts {
            power.multiply_add(10u32.pow(PART_DIGITS as u32), 0);
        }
        power
    }

    fn trimmed(mut self) -> Big {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    pub(super) fn multiply_add(&mut self, factor: u32, carry: u32) {
        let mut carry = u64::from(carry);
        for part in &mut self.0 {
            let product = u64::from(*part) * u64::from(factor) + carry;
            *part = product as u32;
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    pub(super) fn multiply(&mut self, other: &Big) {
        let mut product = vec![0u32; self.0.len() + other.0.len()];
        for (at, &a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (part, &b) in product[at..].iter_mut().zip(&other.0) {
                let sum = u64::from(a) * u64::from(b) + u64::from(*part) + carry;
                *part = sum as u32;
                carry = sum >> 32;
            }
            product[at + other.0.len()] = carry as u32;
        }
        *self = Big(product).trimmed();
    }

    pub(super) fn shift_left(&mut self, bits: usize) {
        let (parts, bits) = (bits / 32, bits % 32);
        if bits > 0 {
            self.multiply_add(1 << bits, 0);
        }
        self.0.splice(0..0, std::iter::repeat_n(0, parts));
    }

    pub(super) fn halve(&mut self) {
        let mut carry = 0;
        for part in self.0.iter_mut().rev() {
            let low = *part & 1;
            *part = *part >> 1 | carry << 31;
            carry = low;
        }
        if self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    pub(super) fn is_at_least(&self, other: &Big) -> bool {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())) != Ordering::Less
    }

    /// Takes `other`, which is not larger, away.
    pub(super) fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (at, part) in self.0.iter_mut().enumerate() {
            let taken = other.0.get(at).copied().unwrap_or(0);
            let (less, first) = part.overflowing_sub(taken);
            let (less, second) = less.overflowing_sub(u32::from(borrow));
            *part = less;
            borrow = first || second;
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// Appends it in decimal.
    pub(super) fn write(mut self, out: &mut Vec<u8>) {
        const PART: u64 = 1_000_000_000;
        let start = out.len();
        loop {
            let mut rest = 0u64;
            for part in self.0.iter_mut().rev() {
                let number = rest << 32 | u64::from(*part);
                *part = (number / PART) as u32;
                rest = number % PART;
            }
            self = self.trimmed();
            for _ in 0..9 {
                out.push(b'0' + (rest % 10) as u8);
                rest /= 10;
            }
            if self.is_zero() {
                break;
            }
        }
        while out.len() > start + 1 && out.last() == Some(&b'0') {
            out.pop();
        }
        out[start..].reverse();
    }
}
