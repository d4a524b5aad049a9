//! A Bloom filter over the keys of the archive: most new events are known to be new without a read of the file. It
//! gives false positives, never false negatives.

use super::index::KeyHash;

/// Words in a block. A block is one cache line, and holds every bit of a key.
const BLOCK_WORDS: usize = 8;

/// Bits set for each key. Nine bits of the hash choose each of them.
const BITS_PER_KEY: usize = 6;

/// Blocks in 2 MiB. The system only backs the pages in use. A million keys give a few false positives in a thousand;
/// many millions cost one more read for each new event.
const BLOCKS: usize = (2 << 20) / (BLOCK_WORDS * 8);

/// A blocked Bloom filter.
#[derive(Debug)]
pub(super) struct BloomFilter {
    words: Vec<u64>,
}

impl BloomFilter {
    /// An empty filter.
    pub(super) fn new() -> Self {
        Self { words: vec![0; BLOCKS * BLOCK_WORDS] }
    }

    /// Adds a key. Keys cannot be removed; a new filter replaces this one after each sweep.
    pub(super) fn insert(&mut self, key: KeyHash) {
        for (word, bit) in bits(key) {
            self.words[word] |= bit;
        }
    }

    /// Whether the key may have been inserted. False is certain.
    pub(super) fn may_contain(&self, key: KeyHash) -> bool {
        bits(key).all(|(word, bit)| self.words[word] & bit != 0)
    }
}

/// The bits of a key: the low half of the hash chooses the block, the high half the bits in it.
fn bits(KeyHash(hash): KeyHash) -> impl Iterator<Item = (usize, u64)> {
    let block = hash as usize % BLOCKS;
    (0..BITS_PER_KEY).map(move |i| {
        let bit = (hash >> (64 + i * 9)) as usize % (BLOCK_WORDS * 64);
        (block * BLOCK_WORDS + bit / 64, 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::super::index::KeyHasher;
    use super::*;

    #[test]
    fn inserted_keys_are_found_and_false_positives_are_rare() {
        let (mut bloom, hasher) = (BloomFilter::new(), KeyHasher::default());
        let key = |n: usize| hasher.hash(&format!("evt_{n}"), "/webhooks/stripe", "");
        assert!(!bloom.may_contain(key(0)));
        (0..1_000_000).for_each(|n| bloom.insert(key(n)));
        assert!((0..1_000_000).all(|n| bloom.may_contain(key(n))));
        let false_positives = (1_000_000..1_100_000).filter(|&n| bloom.may_contain(key(n))).count();
        assert!(false_positives < 1_000, "{false_positives} of 100,000");
    }
}
