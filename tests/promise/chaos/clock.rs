//! The program's wall clock, changed through libfaketime while it runs.

use crate::harness::Setup;
use crate::tools::faketime;
use std::path::PathBuf;
use tempfile::TempDir;

/// A clock that the test sets. Monotonic clocks stay right.
pub struct Clock {
    library: String,
    folder: TempDir,
}

impl Clock {
    /// Returns a clock that is right, or `None` without libfaketime.
    pub fn new() -> Option<Self> {
        let clock = Self { library: faketime()?, folder: TempDir::new().expect("a folder") };
        clock.set(0);
        Some(clock)
    }

    /// Gives the program this clock.
    pub fn configure(&self, setup: Setup) -> Setup {
        setup
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file().display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Sets how far the clock is ahead. The file is replaced, because the program reads it at any moment.
    pub fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("the offset");
        std::fs::rename(new, self.file()).expect("the offset");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}
