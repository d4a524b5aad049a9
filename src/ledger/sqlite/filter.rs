//! Which keys the archive may hold, in a few bits each: a new event is known to be new without a look into the
//! file, however much the archive holds. It may say yes in vain, never no.

use super::index::KeyHash;

/// Words of a block: one cache line, in which all bits of a key lie.
const BLOCK: usize = 8;

/// Bits set for each key, each picked by 9 bits of its hash.
const BITS: usize = 6;

/// 2 MiB of bits, which the system only backs where they are used: yes in vain for few in a thousand with a million
/// keys, and a look into the file more with many millions.
const BLOCKS: usize = (2 << 20) / (BLOCK * 8);

/// A Bloom filter in blocks.
#[derive(Debug)]
pub(super) struct BloomFilter {
    words: Vec<u64>,
}

impl BloomFilter {
    /// One that holds nothing.
    pub(super) fn new() -> Self {
        Self { words: vec![0; BLOCKS * BLOCK] }
    }

    pub(super) fn add(&mut self, key: KeyHash) {
        for (word, bit) in bits(key) {
            self.words[word] |= bit;
        }
    }

    pub(super) fn may_hold(&self, key: KeyHash) -> bool {
        bits(key).all(|(word, bit)| self.words[word] & bit != 0)
    }
}

/// The low half of the hash picks the block, the high half the bits in it.
fn bits(KeyHash(hash): KeyHash) -> impl Iterator<Item = (usize, u64)> {
    let block = hash as usize % BLOCKS;
    (0..BITS).map(move |i| {
        let bit = (hash >> (64 + i * 9)) as usize % (BLOCK * 64);
        (block * BLOCK + bit / 64, 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::super::index::KeyHasher;
    use super::*;

    #[test]
    fn what_was_added_is_held_and_little_else_seems_to_be() {
        let (mut filter, hasher) = (BloomFilter::new(), KeyHasher::default());
        let key = |n: usize| hasher.hash(&format!("evt_{n}"), "/webhooks/stripe", "");
        assert!(!filter.may_hold(key(0)));
        (0..1_000_000).for_each(|n| filter.add(key(n)));
        assert!((0..1_000_000).all(|n| filter.may_hold(key(n))));
        let in_vain = (1_000_000..1_100_000).filter(|&n| filter.may_hold(key(n))).count();
        assert!(in_vain < 1_000, "{in_vain} of 100,000");
    }
}
