//! Slots: which part of a cluster a key belongs to, and the names of what is kept beside it.
//!
//! One command, or script, may only touch keys of one slot. So what belongs to a lock has a name in its slot: the line before
//! the key, and the counter of fencing tokens, of which there is one for each slot. Where a name is not there by itself, as it is
//! behind `{order:1}`, six letters are put into it that bring it there: `order:1:hijklm:lock_runtime:q1`. They are computed,
//! not searched for: the hash of a text is that of its bits, one by one, added up. Braces would do as well, but not for
//! every key (`a}b`, `{}x`), and `{order:1}:q1` does not begin as the key does: the user may have no right to it.

use std::fmt;

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// How many bits the number of a slot has.
const BITS: usize = 14;

/// How many letters are put into a name, of three bits each: some of those do the same.
const LETTERS: usize = 6;

/// The letters are this one with other last bits: `h` to `o`.
const LETTER: u8 = b'h';

/// The slot of a key: of the part in its first braces, if there is one and it is not empty.
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(0, tag(key).unwrap_or(key)) % SLOTS
}

/// The part of a key that alone counts.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let from = key.iter().position(|byte| *byte == b'{')? + 1;
    let upto = from + key[from..].iter().position(|byte| *byte == b'}')?;
    (upto > from).then(|| &key[from..upto])
}

/// The end of a name, and what it takes to bring a name with this end into a slot.
#[derive(Debug)]
pub(super) struct Tail {
    text: &'static str,
    /// For each bit of the slot's number, the bits of the letters that change it and no other.
    changes: [u32; BITS],
}

impl Tail {
    /// For constants: that there is a name for every slot is known when this is compiled.
    pub(super) const fn new(text: &'static str) -> Self {
        // What each bit of the letters changes: as if all else were zero.
        let mut hashes = [0_u16; LETTERS * 3];
        let mut letters = [0_u32; LETTERS * 3];
        let mut n = 0;
        while n < hashes.len() {
            let zeros = LETTERS - 1 - n / 3 + text.len();
            let mut crc = crc16(0, &[1 << (n % 3)]);
            let mut z = 0;
            while z < zeros {
                crc = crc16(crc, &[0]);
                z += 1;
            }
            hashes[n] = crc % SLOTS;
            letters[n] = 1 << n;
            n += 1;
        }
        // Gauss: added to each other, until each of the first ones changes one bit.
        let mut changes = [0; BITS];
        let mut bit = 0;
        while bit < BITS {
            let mut pivot = bit;
            while hashes[pivot] & (1 << bit) == 0 {
                pivot += 1;
            }
            (hashes[pivot], hashes[bit]) = (hashes[bit], hashes[pivot]);
            (letters[pivot], letters[bit]) = (letters[bit], letters[pivot]);
            let mut other = 0;
            while other < hashes.len() {
                if other != bit && hashes[other] & (1 << bit) != 0 {
                    hashes[other] ^= hashes[bit];
                    letters[other] ^= letters[bit];
                }
                other += 1;
            }
            bit += 1;
        }
        while bit > 0 {
            bit -= 1;
            changes[bit] = letters[bit];
        }
        Self { text, changes }
    }

    /// What to put between `head` and this end, so that the whole is in `slot`. Nothing where it is already; and where braces in
    /// `head` decide, and nothing can be done.
    pub(super) fn infix(&self, head: &str, slot: u16) -> Infix {
        let (crc, tail) = (crc16(0, head.as_bytes()), self.text.as_bytes());
        if tag(head.as_bytes()).is_some() || crc16(crc, tail) % SLOTS == slot {
            return Infix { text: [0; 1 + LETTERS], length: 0 };
        }
        let mut text = [LETTER; 1 + LETTERS];
        text[0] = b':';
        let wrong = (crc16(crc16(crc, &text), tail) % SLOTS) ^ slot;
        let letters = (0..BITS).filter(|bit| wrong & (1 << bit) != 0).fold(0_u32, |all, bit| all ^ self.changes[bit]);
        for (n, letter) in text[1..].iter_mut().enumerate() {
            *letter ^= u8::try_from((letters >> (3 * n)) & 7).unwrap_or_default();
        }
        Infix { text, length: text.len() }
    }
}

/// Letters that bring a name into a slot; or nothing.
#[derive(Clone, Copy)]
pub(super) struct Infix {
    text: [u8; 1 + LETTERS],
    length: usize,
}

impl Infix {
    pub(super) fn as_str(&self) -> &str {
        // Letters of ours.
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Display for Infix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// CRC16 as XMODEM has it, continued over `bytes`.
const fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    let mut n = 0;
    while n < bytes.len() {
        crc = (crc << 8) ^ CRC16[(crc >> 8) as usize ^ bytes[n] as usize];
        n += 1;
    }
    crc
}

/// For each byte by itself.
static CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u16;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    static TAIL: Tail = Tail::new(":lock_runtime:q1");

    /// Promise: a key is looked for where the servers keep it.
    ///
    /// Turned red by: another polynomial, another rule of braces. The numbers are those of `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_the_servers() {
        for (key, expected) in
            [("123456789", 12739), ("foo", 12182), ("{foo}bar", 12182), ("a{foo}{bar}", 12182), ("", 0)]
        {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        // No braces, or empty ones, or the wrong way round: the whole counts.
        for key in ["a}b", "{}x", "a{}{foo}", "a{b", "}a{"] {
            assert_eq!(slot(key.as_bytes()), crc16(0, key.as_bytes()) % SLOTS, "{key}");
        }
    }

    /// Promise: what is kept beside a key is in its slot, whatever braces it has, and begins as it does.
    ///
    /// Turned red by: letters of another base, a bit that is forgotten, a suffix alone.
    #[test]
    fn companions_are_in_the_slot_of_their_key() {
        let some = ["order:1", "a}b", "{}x", "{t}x", "a{b", "", "{", "}", "a{}b{c}", "é", "x{y}z{w}", "{{a}}"];
        let many = (0..2000).map(|n| format!("order:{n}"));
        for key in some.into_iter().map(str::to_owned).chain(many) {
            let slot = slot(key.as_bytes());
            let name = format!("{key}{}:lock_runtime:q1", TAIL.infix(&key, slot));
            assert_eq!(super::slot(name.as_bytes()), slot, "{name}");
        }
        assert_eq!(TAIL.infix("{t}x", slot(b"t")).as_str(), "");
    }

    /// Promise: there is a name in every slot.
    #[test]
    fn there_is_a_name_in_every_slot() {
        static TAIL: Tail = Tail::new("");
        for wanted in 0..SLOTS {
            let infix = TAIL.infix("lock_runtime:0123", wanted);
            assert_eq!(slot(format!("lock_runtime:0123{infix}").as_bytes()), wanted);
            assert!(infix.as_str().trim_start_matches(':').chars().all(|c| ('h'..='o').contains(&c)), "{infix}");
        }
    }
}
