//! Fencing tokens: random numbers, so that no guessed or leftover token can settle an event.

/// Tokens drawn from the system's random source at once: one call costs more than the bytes.
const BATCH_SIZE: usize = 64;

/// A supply of fencing tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Tokens drawn and not yet given out.
    unused: Vec<u64>,
}

impl Tokens {
    /// Returns a token that was not given out before.
    ///
    /// # Errors
    /// The system's random source fails.
    pub(super) fn next(&mut self) -> Result<u64, getrandom::Error> {
        if self.unused.is_empty() {
            let mut bytes = [0; BATCH_SIZE * 8];
            getrandom::fill(&mut bytes)?;
            self.unused.extend(bytes.as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)));
        }
        // The batch above is not empty, so the default is never used.
        Ok(self.unused.pop().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_do_not_repeat_over_many_batches() {
        let mut tokens = Tokens::default();
        let drawn: HashSet<u64> = (0..10 * BATCH_SIZE).map(|_| tokens.next().unwrap()).collect();
        assert_eq!(drawn.len(), 10 * BATCH_SIZE);
    }
}
