//! Fencing tokens: random, so that nobody settles with a guessed or a leftover one.

/// How many are drawn from the system at once: one call costs more than the numbers.
const DRAW: usize = 64;

/// A supply of them.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    drawn: Vec<u64>,
}

impl Tokens {
    /// Another token.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub(super) fn next(&mut self) -> Result<u64, getrandom::Error> {
        if self.drawn.is_empty() {
            let mut bytes = [0; DRAW * 8];
            getrandom::fill(&mut bytes)?;
            self.drawn.extend(bytes.as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)));
        }
        // Drawn above if there was none; 0 is never reached, and would only be one token among others.
        Ok(self.drawn.pop().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_do_not_repeat_over_many_draws() {
        let mut tokens = Tokens::default();
        let drawn: HashSet<u64> = (0..10 * DRAW).map(|_| tokens.next().unwrap()).collect();
        assert_eq!(drawn.len(), 10 * DRAW);
    }
}
