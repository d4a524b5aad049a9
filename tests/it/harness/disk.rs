//! A small file system in memory, which can fill up and become read-only.

use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A file system of its own, unmounted on drop.
pub struct Disk {
    dir: TempDir,
    size: String,
}

impl Disk {
    /// Mounts a file system of this size, such as `2m`. Prints a note and returns `None` where the tests may not mount.
    pub fn mount(size: &str) -> Option<Self> {
        let disk = Self { dir: TempDir::new().expect("a folder"), size: size.to_owned() };
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], disk.path());
        if !mounted {
            eprintln!("SKIPPED: no right to mount a small disk here");
        }
        mounted.then_some(disk)
    }

    /// Returns its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves no room for another byte: the disk becomes as small as what it holds.
    pub fn fill(&self) {
        // A file may grow between the two commands.
        let filled = (0..20).any(|_| mount(&["-o", &format!("remount,size={}", self.used())], self.path()));
        assert!(filled, "the disk cannot become smaller");
    }

    /// Gives the disk its size again.
    pub fn empty(&self) {
        self.remount(&format!("size={}", self.size));
    }

    /// Changes how it is mounted.
    pub fn remount(&self, how: &str) {
        assert!(mount(&["-o", &format!("remount,{how}")], self.path()), "remount {how}");
    }

    /// Returns the bytes that it holds.
    fn used(&self) -> u64 {
        let df = Command::new("df").args(["--block-size=1", "--output=used"]).arg(self.path()).output();
        let text = String::from_utf8(df.expect("df").stdout).expect("text");
        text.lines().nth(1).expect("a line for the disk").trim().parse().expect("a number")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn mount(arguments: &[&str], on: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(arguments).arg(on).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
