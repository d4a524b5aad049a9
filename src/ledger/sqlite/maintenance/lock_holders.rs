//! Finds the processes that read an SQLite file, by the locks that Linux lists in `/proc/locks`. On other systems, and
//! for processes of another container, it finds none.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bytes of the `-shm` file that readers lock while their transaction lasts: `WAL_READ_LOCK(0)` to
/// `WAL_READ_LOCK(4)` of SQLite's `wal.c`, from byte 120 on (<https://sqlite.org/walformat.html#locks>).
const READ_LOCKS: std::ops::RangeInclusive<u64> = 123..=127;

/// Another process that holds a lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LockHolder {
    pid: u32,
    /// The name of its program; empty if it cannot be read.
    program: String,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.program.is_empty() { "process" } else { &self.program };
        write!(f, "{name} (pid {})", self.pid)
    }
}

/// Returns the other processes that hold a read transaction, by this `-shm` file.
pub(super) fn of_read_locks(shm: &Path) -> Vec<LockHolder> {
    let (Ok(file), Ok(locks)) = (fs::metadata(shm), fs::read_to_string("/proc/locks")) else {
        return Vec::new();
    };
    let mut pids = readers(&locks, file.dev(), file.ino());
    pids.retain(|&pid| pid != std::process::id());
    let program = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.into_iter().map(|pid| LockHolder { pid, program: program(pid).trim().to_owned() }).collect()
}

/// Parses `/proc/locks` (proc_locks(5)), and returns the processes with a lock in [`READ_LOCKS`] of one file, each once.
fn readers(locks: &str, device: u64, inode: u64) -> Vec<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let mut pids: Vec<_> = locks.lines().filter_map(|line| reader(line, &file)).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Parses one line, such as `1: POSIX  ADVISORY  READ 4242 fd:01:131093 124 124`. A line of a process that waits for a
/// lock has an arrow instead of `POSIX`.
fn reader(line: &str, file: &str) -> Option<u32> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, "POSIX", _, "READ", pid, name, first, last] = fields[..] else { return None };
    // The kernel joins neighbouring locks of one process. `EOF` lies behind every byte.
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().unwrap_or(u64::MAX));
    let overlaps = first <= *READ_LOCKS.end() && last >= *READ_LOCKS.start();
    if name == file && overlaps { pid.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_one_file_are_found_once_each() {
        let locks = "\
            1: POSIX  ADVISORY  READ 30 fd:01:77 124 124\n\
            2: POSIX  ADVISORY  READ 20 fd:01:77 127 128\n\
            3: POSIX  ADVISORY  READ 20 fd:01:77 123 123\n\
            4: POSIX  ADVISORY  READ 21 fd:01:77 128 128\n\
            5: POSIX  ADVISORY  WRITE 22 fd:01:77 120 120\n\
            6: POSIX  ADVISORY  READ 23 fd:01:78 124 124\n\
            7: POSIX  ADVISORY  READ 24 fd:02:77 124 124\n\
            7: -> POSIX  ADVISORY  READ 25 fd:01:77 124 124\n\
            8: FLOCK  ADVISORY  WRITE 26 fd:01:77 0 EOF\n\
            9: POSIX  ADVISORY  READ 27 fd:01:77 0 EOF\n\
            not a lock\n";
        assert_eq!(readers(locks, rustix::fs::makedev(0xfd, 1), 77), [20, 27, 30]);
        assert_eq!(readers("", 0, 0), [0; 0]);
    }

    #[test]
    fn a_holder_without_a_name_is_a_process() {
        let holder = |program: &str| LockHolder { pid: 7, program: program.to_owned() };
        assert_eq!(holder("sqlite3").to_string(), "sqlite3 (pid 7)");
        assert_eq!(holder("").to_string(), "process (pid 7)");
    }
}
