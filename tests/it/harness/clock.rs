//! A wall clock that a test sets while programs run, by libfaketime. Monotonic clocks stay right.

use super::setup::Setup;
use std::path::PathBuf;
use tempfile::TempDir;

/// A year in seconds.
pub const YEAR: i64 = 365 * 24 * 60 * 60;

/// The wall clock of one or more processes.
pub struct FakeClock {
    library: String,
    folder: TempDir,
}

impl FakeClock {
    /// Returns a clock that is right, made by this library.
    pub fn new(library: String) -> Self {
        let clock = Self { library, folder: TempDir::new().expect("a folder") };
        clock.set(0);
        clock
    }

    /// Sets how far the clock is ahead, in seconds. The file is replaced, because processes read it at any moment.
    pub fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("the offset");
        std::fs::rename(new, self.file()).expect("the offset");
    }

    /// Gives a program this clock.
    pub fn configure(&self, setup: Setup) -> Setup {
        self.env().into_iter().fold(setup, |setup, (name, value)| setup.env(name, &value))
    }

    /// Returns the environment of a process with this clock.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}
