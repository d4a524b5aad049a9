//! A point that a double passes only when the test lets it: what stands in for sleeping.

use std::sync::Arc;
use tokio::sync::Semaphore;

/// Closed when made. Clones are one gate.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    /// Lets exactly one through, now or when it comes.
    pub fn let_one(&self) {
        self.0.add_permits(1);
    }

    /// Lets everyone through from now on.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits to be let through.
    pub async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}
