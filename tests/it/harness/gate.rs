//! A point that a double passes only when the test allows it. It replaces sleeping.

use std::sync::Arc;
use tokio::sync::Semaphore;

/// A gate, closed at first. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Makes a closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets exactly one caller through, now or when it arrives.
    pub fn let_one(&self) {
        self.0.add_permits(1);
    }

    /// Lets every caller through from now on.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until the gate lets it through.
    pub async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}
