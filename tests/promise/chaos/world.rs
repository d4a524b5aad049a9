//! The world in which the faults happen: program, ledger, backend, network and clock.

use super::clock::Clock;
use super::fault::Fault;
use super::ledger::ChaosLedger;
use super::load::MODES;
use super::network::{Mode, Network};
use super::random::Random;
use crate::backend::{HUNG_PAGE, Reaction, RecordingBackend};
use crate::harness::{Address, Client, Event, Program, Request, Setup, TestLedger, until};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use toml::Value;

/// The admin token, to look events up.
pub const TOKEN: &str = "a-token-that-the-chaos-run-knows";
/// The lease of a delivery: the time-outs below, and 5 s.
pub const LEASE: Duration = Duration::from_secs(9);
const CONNECT_TIMEOUT: &str = "1s";
const RESPONSE_TIMEOUT: &str = "3s";
/// How many pages hang at once.
const HUNG_PAGES: usize = 150;
/// The longest steps of the program's clock, in seconds: within half a day, and within a year.
const MAX_STEPS: [u64; 2] = [12 * 3600, 366 * 24 * 3600];

/// Everything that a fault can happen to.
pub struct World {
    pub random: Random,
    ledger: ChaosLedger,
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
    /// The resets of the ledger that killed programs counted, and those that were told.
    resets: (u64, u64),
    hung: Vec<Client>,
}

impl World {
    /// Starts everything.
    pub async fn start(ledger: TestLedger, durability: &str, seed: u64) -> Self {
        let ledger = ChaosLedger::start(ledger, durability).await;
        let reactions = Random::new(seed, 1);
        let backend = RecordingBackend::start(move |_| reaction(&reactions)).await;
        let network = Network::to(backend.address());
        let clock = Clock::new();
        let program = Program::start(setup(&ledger, &network, clock.as_ref())).await;
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
            resets: (0, 0),
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
            Fault::RedisKill | Fault::Failover => self.ledger.is_redis(),
            Fault::DiskFull => self.ledger.has_disk(),
            Fault::Clock => self.clock.is_some(),
            Fault::Kill | Fault::Network(_) | Fault::Stderr | Fault::Pages => true,
        }
    }

    /// Starts a fault.
    pub async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                self.address.send_replace(None);
                self.resets.0 += self.resets_of_program().await;
                self.program.as_mut().expect("it is running").kill9();
            }
            Fault::RedisKill => self.ledger.redis().kill(),
            Fault::Failover => self.ledger.redis().cut_off(),
            Fault::DiskFull => self.ledger.fill_disk(),
            Fault::Network(mode) => self.network.set(mode),
            Fault::Stderr => self.program().pause_log(),
            Fault::Pages => self.hang_pages().await,
            Fault::Clock => {
                let max = MAX_STEPS[usize::from(self.random.percent(50))];
                let step = i64::try_from(self.random.below(2 * max)).expect("two years");
                self.set_clock(step - i64::try_from(max).expect("a year"));
            }
        }
    }

    /// Ends a fault. The server of the ledger and the network must be healed before the program.
    pub async fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                let setup = setup(&self.ledger, &self.network, self.clock.as_ref());
                let program = self.program.take().expect("it was running").restart_with(setup).await;
                self.address.send_replace(Some(program.proxy().clone()));
                self.program = Some(program);
            }
            Fault::RedisKill => self.ledger.redis().up().await,
            Fault::Failover => self.ledger.redis().fail_over().await,
            Fault::DiskFull => self.ledger.empty_disk().await,
            Fault::Network(_) => self.network.set(Mode::Carry),
            Fault::Stderr => self.program().resume_log(),
            Fault::Pages => self.hung.clear(),
            Fault::Clock => self.set_clock(0),
        }
    }

    /// Waits until an inline and a queued event are acknowledged. The program may not have noticed yet that a server is gone,
    /// and be ready for that reason.
    pub async fn serves_again(&self) {
        for mode in ["inline", "queued"] {
            let event = Event::checkout();
            until(format!("an event is acknowledged at /webhooks/{mode}"), async || {
                let request = event.signed().target(&format!("/webhooks/{mode}"));
                (self.program().send(&request).await.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Returns how many resets of the ledger were counted since the last call.
    pub async fn count_resets(&mut self) -> u64 {
        let counted = self.resets.0 + self.resets_of_program().await;
        counted - std::mem::replace(&mut self.resets.1, counted)
    }

    async fn resets_of_program(&self) -> u64 {
        let metrics = self.program().metrics().await;
        let mut lines = metrics.lines();
        let count = lines.find_map(|line| line.strip_prefix("countersign_ledger_resets_total "));
        count.expect("the counter").parse().expect("a number")
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

/// Configures one endpoint for each delivery mode.
fn setup(ledger: &ChaosLedger, network: &Network, clock: Option<&Clock>) -> Setup {
    let mut setup = Setup::to(&format!("http://{}", network.address()))
        .set("backend.connect_timeout", CONNECT_TIMEOUT)
        .set("backend.response_timeout", RESPONSE_TIMEOUT)
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
    let setup = ledger.configure(setup);
    clock.map_or_else(|| setup.clone(), |clock| clock.configure(setup.clone()))
}

/// Mostly accepts the event, sometimes fails, sometimes hangs.
fn reaction(random: &Random) -> Reaction {
    match random.below(100) {
        0..2 => Reaction::NoResponse,
        2..10 => Reaction::Respond(random.millis(0..20), 500),
        _ => Reaction::Respond(random.millis(0..60), 200),
    }
}
