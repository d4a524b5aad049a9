//! The faults, and the world in which they happen: program, ledger, backend, network and clock.

use super::load::MODES;
use super::network::{Mode, Network};
use super::random::Random;
use crate::backend::{HUNG_PAGE, Reaction, RecordingBackend};
use crate::harness::Address;
use crate::harness::{Client, Program, Request, Setup, TestLedger};
use crate::tools::faketime;
use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;
use toml::Value;

/// The admin token, to look events up.
pub const TOKEN: &str = "a-token-that-the-chaos-run-knows";
/// How many pages hang at once.
const HUNG_PAGES: usize = 150;
/// The longest step of the program's clock, in seconds.
const MAX_STEP: u64 = 12 * 3600;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// SIGKILL to the program, and a restart.
    Kill,
    /// SIGKILL to the Redis server, and a restart. It has lost nothing.
    RedisKill,
    /// The network to the backend refuses, closes, resets or stalls connections.
    Network(Mode),
    /// Nobody reads the program's standard error.
    Stderr,
    /// Many pages hang at the backend.
    Pages,
    /// The program's clock is wrong. Monotonic clocks are not.
    Clock,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::RedisKill,
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
            Self::Network(Mode::Refuse) => "backend_refuses",
            Self::Network(Mode::Close) => "backend_closes",
            Self::Network(Mode::Reset) => "backend_resets",
            Self::Network(Mode::Stall | Mode::Carry) => "backend_stalls",
            Self::Stderr => "stderr",
            Self::Pages => "pages",
            Self::Clock => "clock",
        }
    }

    /// Returns whether program, ledger or backend cannot serve while it lasts.
    pub fn is_outage(self) -> bool {
        match self {
            Self::Kill | Self::RedisKill | Self::Network(_) => true,
            Self::Stderr | Self::Pages | Self::Clock => false,
        }
    }
}

/// Everything that a fault can happen to.
pub struct World {
    pub random: Random,
    pub ledger: TestLedger,
    pub backend: RecordingBackend,
    network: Network,
    /// `None` only while the program restarts.
    program: Option<Program>,
    /// Tells senders the program's address.
    pub address: watch::Sender<Option<Address>>,
    clock: Option<Clock>,
    /// How far the program's clock is ahead, in seconds.
    pub clock_offset: Rc<Cell<i64>>,
    /// When the program's clock was changed.
    pub clock_steps: Vec<Instant>,
    hung: Vec<Client>,
}

impl World {
    /// Starts everything.
    pub async fn start(ledger: TestLedger, seed: u64) -> Self {
        let reactions = Random::new(seed, 1);
        let backend = RecordingBackend::start(move |_| reaction(&reactions)).await;
        let network = Network::to(backend.address());
        let clock = Clock::new();
        let setup = ledger.configure(setup(&network, clock.as_ref()));
        let program = Program::start(setup).await;
        let (address, _) = watch::channel(Some(program.proxy().clone()));
        Self {
            random: Random::new(seed, 0),
            ledger,
            backend,
            network,
            program: Some(program),
            address,
            clock,
            clock_offset: Rc::default(),
            clock_steps: vec![],
            hung: vec![],
        }
    }

    /// Returns the running program.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it is running")
    }

    /// Returns whether this fault is possible here.
    pub fn can(&self, fault: Fault) -> bool {
        match fault {
            Fault::RedisKill => matches!(self.ledger, TestLedger::Redis(_)),
            // A step of the clock can make an event in SQLite due hours later, and the run waits for it.
            Fault::Clock => self.clock.is_some() && matches!(self.ledger, TestLedger::Redis(_)),
            Fault::Kill | Fault::Network(_) | Fault::Stderr | Fault::Pages => true,
        }
    }

    /// Starts a fault.
    pub async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                self.address.send_replace(None);
                self.program.as_mut().expect("it is running").kill9();
            }
            Fault::RedisKill => {
                if let TestLedger::Redis(redis) = &mut self.ledger {
                    redis.kill();
                }
            }
            Fault::Network(mode) => self.network.set(mode),
            Fault::Stderr => self.program().pause_log(),
            Fault::Pages => self.hang_pages().await,
            Fault::Clock => {
                let step = i64::try_from(self.random.below(2 * MAX_STEP)).expect("a day");
                self.set_clock(step - i64::try_from(MAX_STEP).expect("half a day"));
            }
        }
    }

    /// Ends a fault. The server of the ledger and the network must be healed before the program.
    pub async fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                let setup = self.ledger.configure(setup(&self.network, self.clock.as_ref()));
                let program = self.program.take().expect("it was running").restart_with(setup).await;
                self.address.send_replace(Some(program.proxy().clone()));
                self.program = Some(program);
            }
            Fault::RedisKill => {
                if let TestLedger::Redis(redis) = &mut self.ledger {
                    redis.up().await;
                }
            }
            Fault::Network(_) => self.network.set(Mode::Carry),
            Fault::Stderr => self.program().resume_log(),
            Fault::Pages => self.hung.clear(),
            Fault::Clock => self.set_clock(0),
        }
    }

    /// Opens pages that hang, as far as the program accepts connections.
    async fn hang_pages(&mut self) {
        let Some(address) = self.address.borrow().clone() else { return };
        for _ in 0..HUNG_PAGES {
            let Ok(mut client) = Client::try_connect(&address).await else { return };
            if client.try_write(Request::get(HUNG_PAGE).bytes()).await.is_ok() {
                self.hung.push(client);
            }
        }
    }

    fn set_clock(&mut self, seconds: i64) {
        self.clock.as_ref().expect("can() was asked").set(seconds);
        self.clock_offset.set(seconds);
        self.clock_steps.push(Instant::now());
    }
}

/// The program's wall clock, changed through libfaketime while it runs.
struct Clock {
    library: String,
    folder: TempDir,
}

impl Clock {
    fn new() -> Option<Self> {
        let clock = Self { library: faketime()?, folder: TempDir::new().expect("a folder") };
        clock.set(0);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets how far the clock is ahead. The file is replaced, because the program reads it at any moment.
    fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("the offset");
        std::fs::rename(new, self.file()).expect("the offset");
    }
}

/// Configures one endpoint for each delivery mode.
fn setup(network: &Network, clock: Option<&Clock>) -> Setup {
    let mut setup = Setup::to(&format!("http://{}", network.address()))
        .set("backend.connect_timeout", "1s")
        .set("backend.response_timeout", "3s")
        .set("admin.token", "{$ADMIN_TOKEN}")
        .env("ADMIN_TOKEN", TOKEN)
        .set("webhook.path", "/webhooks/inline");
    for (n, mode) in MODES.iter().enumerate() {
        if n > 0 {
            setup = setup.webhook(&format!("/webhooks/{mode}"), &["{$STRIPE_WEBHOOK_SECRET}"]);
        }
        let retry = Value::Array(vec!["300ms".into(); 60]);
        setup = setup.set(&format!("webhook.{n}.delivery"), *mode).set(&format!("webhook.{n}.retry"), retry);
    }
    match clock {
        None => setup,
        Some(clock) => setup
            .env("LD_PRELOAD", &clock.library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock.file().display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    }
}

/// Mostly accepts the event, sometimes fails, sometimes hangs.
fn reaction(random: &Random) -> Reaction {
    match random.below(100) {
        0..2 => Reaction::NoResponse,
        2..10 => Reaction::Respond(random.millis(0..20), 500),
        _ => Reaction::Respond(random.millis(0..60), 200),
    }
}
