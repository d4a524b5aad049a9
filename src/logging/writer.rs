//! The queue between the code that logs and standard error. Logging never waits: a line that does not fit is dropped and
//! counted. One thread writes; it gathers lines for a moment, so that many lines cost one system call.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines wait for standard error, beside those that are being written.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// How long the writer gathers lines. A warning or an error ends the wait at once.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// How long a writer waits that finds standard error unable to take more, before it tries again.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// How long the end of the program waits for the last lines.
const MAX_FLUSH_TIME: Duration = Duration::from_millis(500);

/// The number of lines that were dropped since the start of the process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of log lines that were dropped, because nothing took them from standard error in time.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Writes log lines to a queue that never blocks.
#[derive(Clone)]
pub(super) struct LineWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<LineQueue>,
    /// Notified when the writer has something to do.
    wake: Condvar,
    /// Notified when the writer has written everything.
    idle: Condvar,
}

#[derive(Default)]
struct LineQueue {
    /// Whole lines, each with its line feed.
    lines: Vec<u8>,
    /// The writer waits for a first line.
    writer_sleeps: bool,
    /// A line is worth an immediate write.
    urgent: bool,
    /// The writer has taken lines that are not written yet.
    writing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, LineQueue> {
        // No code panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineWriter {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new(), idle: Condvar::new() });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("log".into()).spawn(move || writer.run(out))?;
        Ok(Self(shared))
    }

    /// Waits until every line is written, for half a second at most.
    pub(super) fn flush(&self) {
        let mut queue = self.0.lock();
        queue.urgent = true;
        self.0.wake.notify_one();
        let busy = |queue: &mut LineQueue| queue.writing || !queue.lines.is_empty();
        let _ = self.0.idle.wait_timeout_while(queue, MAX_FLUSH_TIME, busy);
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut queue = self.0.lock();
        if queue.lines.len() + line.len() > MAX_QUEUED_BYTES {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.lines.extend_from_slice(line);
        queue.urgent |= urgent;
        // A writer that gathers lines finds this one without being woken.
        let wake = std::mem::take(&mut queue.writer_sleeps) || urgent;
        drop(queue);
        if wake {
            self.0.wake.notify_one();
        }
    }
}

/// One line on its way to the queue.
pub(super) struct LineBuffer<'a> {
    writer: &'a LineWriter,
    urgent: bool,
}

impl Write for LineBuffer<'_> {
    /// Takes a whole line: the formatter writes each in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.writer.push(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = LineBuffer<'a>;

    fn make_writer(&'a self) -> LineBuffer<'a> {
        LineBuffer { writer: self, urgent: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineBuffer<'a> {
        LineBuffer { writer: self, urgent: *metadata.level() <= Level::WARN }
    }
}

impl Shared {
    /// Writes lines to `out` for the life of the process.
    fn run(&self, mut out: impl Write) {
        let (mut batch, mut mid_line, mut reported) = (Vec::new(), false, 0);
        loop {
            batch.clear();
            self.next_batch(&mut batch);
            let dropped = write_batch(&mut out, &batch, &mut mid_line);
            DROPPED.fetch_add(dropped, Ordering::Relaxed);
            let total = dropped_lines();
            if dropped == 0 && total > reported {
                let lines = total - reported;
                tracing::warn!(lines, "log lines were dropped: standard error did not take them");
                reported = total;
            }
        }
    }

    /// Waits for lines, gathers for a moment, and takes them all.
    fn next_batch(&self, batch: &mut Vec<u8>) {
        let mut queue = self.lock();
        queue.writing = false;
        if queue.lines.is_empty() {
            self.idle.notify_all();
        }
        while queue.lines.is_empty() {
            queue.writer_sleeps = true;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.writer_sleeps = false;
        let gathering = |queue: &mut LineQueue| !queue.urgent;
        let waited = self.wake.wait_timeout_while(queue, GATHER_TIME, gathering);
        (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.urgent = false;
        queue.writing = true;
        std::mem::swap(&mut queue.lines, batch);
    }
}

/// Writes lines, and returns how many could not be written. `mid_line` says whether the output ends within a line, which the
/// next batch must end first.
fn write_batch(out: &mut impl Write, batch: &[u8], mid_line: &mut bool) -> u64 {
    let mut rest = batch;
    if *mid_line && write_some(out, b"\n").is_ok() {
        *mid_line = false;
    }
    while !rest.is_empty() && !*mid_line {
        match write_some(out, rest) {
            Ok(written) => rest = &rest[written..],
            Err(_) => {
                // The reader is gone, or the disk is full. These lines are lost; later ones are tried again.
                *mid_line = rest.len() < batch.len() && !batch[..batch.len() - rest.len()].ends_with(b"\n");
                break;
            }
        }
    }
    let _ = out.flush();
    u64::try_from(memchr::memchr_iter(b'\n', rest).count()).unwrap_or(u64::MAX)
}

/// Writes what fits, and waits while nothing does.
fn write_some(out: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Standard error is a non-blocking pipe that is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_DELAY),
            Err(error) => return Err(error),
        }
    }
}
