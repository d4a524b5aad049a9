//! The chores, inside a transaction of the writer's: moving settled events from the log to the archive, and forgetting
//! them. Each leaves alone what is not settled, or no longer what the keeper saw.

use rusqlite::{Connection, Result, Statement};

use super::filter::BloomFilter;
use super::index::Index;
use super::queue::{Chore, Version};

pub(super) struct Chores<'c> {
    archive: Statement<'c>,
    prune: Statement<'c>,
    forget: Statement<'c>,
    forget_archived: Statement<'c>,
}

impl<'c> Chores<'c> {
    pub(super) fn new(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            archive: conn.prepare(
                "INSERT OR REPLACE INTO archive SELECT id, endpoint, query, type, created, livemode, account, seen, \
                 state, attempts, status, settled FROM events WHERE seq = ?1 AND state = ?2 AND attempts = ?3",
            )?,
            prune: conn.prepare("DELETE FROM events WHERE seq = ?1 AND state = ?2 AND attempts = ?3")?,
            forget: conn.prepare("DELETE FROM events WHERE seq = ?1 AND state IN (2, 3) AND settled < ?2")?,
            forget_archived: conn.prepare(
                "DELETE FROM archive WHERE id = ?1 AND endpoint = ?2 AND query = ?3 AND settled < ?4",
            )?,
        })
    }

    /// Does one and says how many rows it touched.
    pub(super) fn run(
        &mut self,
        chore: &mut Chore,
        index: &mut Index,
        filter: &mut Option<BloomFilter>,
    ) -> Result<u64> {
        let mut touched = 0;
        let mut unindex = |version: &Version, gone: usize| {
            if gone > 0 {
                index.remove(version.hash, version.seq);
            }
            gone
        };
        match chore {
            Chore::Archive(versions) => {
                for v in versions {
                    touched += self.archive.execute((v.seq, v.state, v.attempts))?;
                    if let Some(filter) = filter {
                        filter.add(v.hash);
                    }
                }
            }
            Chore::Prune(versions) => {
                for v in versions {
                    touched += unindex(v, self.prune.execute((v.seq, v.state, v.attempts))?);
                }
            }
            Chore::Forget { versions, before } => {
                for v in versions {
                    touched += unindex(v, self.forget.execute((v.seq, *before))?);
                }
            }
            Chore::ForgetArchived { keys, before } => {
                for key in keys {
                    touched += self.forget_archived.execute((&key.id, &key.endpoint, &key.query, *before))?;
                }
            }
            Chore::Filter(new) => *filter = new.take(),
            Chore::Checkpoint => {} // the writer's, after the commit
        }
        Ok(touched as u64)
    }
}
