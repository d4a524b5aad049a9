//! The faults by name, and what each happens to.

use super::network::Mode;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// SIGKILL to the program, and a restart.
    Kill,
    /// SIGKILL to the Redis server, and a restart. It has lost nothing.
    RedisKill,
    /// The replica of Redis lags behind, and then takes the place of the primary, which is killed.
    Failover,
    /// The disk of the ledger has no room for another byte.
    DiskFull,
    /// The network to the backend refuses, closes, resets or stalls connections.
    Network(Mode),
    /// Nobody reads the program's standard error.
    Stderr,
    /// Many pages hang at the backend.
    Pages,
    /// The program's clock is wrong. Monotonic clocks are not.
    Clock,
}

/// What a fault happens to. Two faults at once happen to different parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    Program,
    Ledger,
    Network,
    Log,
    Pages,
    Clock,
}

impl Fault {
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::RedisKill,
        Self::Failover,
        Self::DiskFull,
        Self::Network(Mode::Refuse),
        Self::Network(Mode::Close),
        Self::Network(Mode::Reset),
        Self::Network(Mode::Stall),
        Self::Stderr,
        Self::Pages,
        Self::Clock,
    ];

    /// Returns the name in the table and in `FAULTS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::RedisKill => "redis_kill",
            Self::Failover => "redis_failover",
            Self::DiskFull => "disk_full",
            Self::Network(Mode::Refuse) => "backend_refuses",
            Self::Network(Mode::Close) => "backend_closes",
            Self::Network(Mode::Reset) => "backend_resets",
            Self::Network(Mode::Stall | Mode::Carry) => "backend_stalls",
            Self::Stderr => "stderr",
            Self::Pages => "pages",
            Self::Clock => "clock",
        }
    }

    /// Returns what it happens to.
    pub fn part(self) -> Part {
        match self {
            Self::Kill => Part::Program,
            Self::RedisKill | Self::Failover | Self::DiskFull => Part::Ledger,
            Self::Network(_) => Part::Network,
            Self::Stderr => Part::Log,
            Self::Pages => Part::Pages,
            Self::Clock => Part::Clock,
        }
    }

    /// Returns whether the ledger may lose what it acknowledged.
    pub fn loses_writes(self) -> bool {
        self == Self::Failover
    }
}
