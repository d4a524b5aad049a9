//! The program as a process: started, watched by its log and its admin listener, signalled, killed.

use super::client::{Client, Response};
use super::request::Request;
use super::setup::Setup;
use super::wire::Address;
use super::{until, within};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;

/// The name of the configuration file in a program's folder.
const CONFIG: &str = "countersign.toml";

/// A running program, killed on drop. A failed test prints its log.
pub struct Program {
    /// The working directory, with configuration, ledger and files.
    dir: Arc<TempDir>,
    setup: Setup,
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    reader: Arc<LogReader>,
    proxy: Option<Address>,
    admin: Option<Address>,
}

/// What the thread that reads the log does after its next line.
#[derive(Default)]
struct LogReader {
    action: Mutex<ReadAction>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ReadAction {
    #[default]
    Read,
    /// Leaves the pipe open and reads nothing, so that it fills up.
    Pause,
    /// Closes the pipe.
    Close,
}

impl LogReader {
    fn set(&self, action: ReadAction) {
        *self.action.lock().unwrap() = action;
        self.changed.notify_all();
    }

    /// Waits while the reader is paused. Returns whether to go on reading.
    fn reads_on(&self) -> bool {
        let action = self.action.lock().unwrap();
        *self.changed.wait_while(action, |action| *action == ReadAction::Pause).unwrap() == ReadAction::Read
    }
}

impl Program {
    /// Starts the program and waits until it is ready.
    #[track_caller]
    pub fn start(setup: impl Into<Setup>) -> impl Future<Output = Self> {
        Self::launch(Arc::new(TempDir::new().expect("a folder")), setup.into()).up()
    }

    /// Starts the program and waits only until both listeners listen, for example while its ledger is unreachable.
    #[track_caller]
    pub fn start_unready(setup: impl Into<Setup>) -> impl Future<Output = Self> {
        Self::launch(Arc::new(TempDir::new().expect("a folder")), setup.into()).listening()
    }

    /// Starts a second program in this one's folder, on other ports, and waits until it listens. Both have the same
    /// ledger.
    #[track_caller]
    pub fn start_beside(&self) -> impl Future<Output = Self> {
        Self::launch(self.dir.clone(), self.setup.clone()).listening()
    }

    /// Starts a second program with this one's folder and sockets, and waits until it stands by.
    #[track_caller]
    pub fn start_standing_by(&self) -> impl Future<Output = Self> {
        let second = Self::launch(self.dir.clone(), self.setup.clone());
        async move {
            second
                .wait_for_log("standing by", |line| {
                    line["message"].as_str().is_some_and(|message| message.starts_with("standing by"))
                })
                .await;
            second
        }
    }

    /// Stops the program, if it runs, and starts it again on the same ledger and on new ports.
    #[track_caller]
    pub fn restart(self) -> impl Future<Output = Self> {
        let setup = self.setup.clone();
        self.restart_with(setup)
    }

    /// Restarts with another configuration, on new ports.
    #[track_caller]
    pub fn restart_with(mut self, setup: Setup) -> impl Future<Output = Self> {
        self.end();
        Self::launch(self.dir.clone(), setup).up()
    }

    /// Restarts on the same ports.
    #[track_caller]
    pub fn restart_in_place(self) -> impl Future<Output = Self> {
        let setup = self.setup.clone();
        let setup = setup.set("server.listen", self.proxy().text()).set("admin.listen", self.admin().text());
        self.restart_with(setup)
    }

    fn launch(dir: Arc<TempDir>, setup: Setup) -> Self {
        for (path, content) in &setup.files {
            std::fs::write(dir.path().join(path), content).expect("a file of the setup");
        }
        let config = dir.path().join(CONFIG);
        std::fs::write(&config, setup.text()).expect("the configuration");
        let mut child = command(&setup)
            .args(["run", "--config"])
            .arg(&config)
            .current_dir(dir.path())
            .env_clear()
            .envs(setup.env.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("piped");
        let (seen, lines) = watch::channel(Vec::new());
        let reader = Arc::new(LogReader::default());
        let reading = reader.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                seen.send_modify(|all| all.push(line));
                if !reading.reads_on() {
                    break;
                }
            }
        });
        Self { dir, setup, child, lines, reader, proxy: None, admin: None }
    }

    #[track_caller]
    fn up(self) -> impl Future<Output = Self> {
        let listening = self.listening();
        async move {
            let program = listening.await;
            program.ready().await;
            program
        }
    }

    /// Waits until both listeners listen.
    #[track_caller]
    pub fn listening(self) -> impl Future<Output = Self> {
        within("both listeners listen", async move {
            let mut program = self;
            let mut lines = program.lines.clone();
            let listener = |all: &[String], name: &str| {
                let named = |line: &Value| line["listener"] == name && line["address"].is_string();
                let line = all.iter().filter_map(|line| serde_json::from_str(line).ok()).find(named)?;
                Some(Address::parse(line["address"].as_str().expect("an address")))
            };
            let both = |all: &[String]| Some((listener(all, "proxy")?, listener(all, "admin")?));
            let found = lines.wait_for(|all| both(all).is_some()).await.ok().and_then(|all| both(&all));
            let Some((proxy, admin)) = found else {
                panic!("ended before it listened: {:?}", program.child.wait());
            };
            (program.proxy, program.admin) = (Some(proxy), Some(admin));
            program
        })
    }

    /// Returns the address of the proxy listener.
    pub fn proxy(&self) -> &Address {
        self.proxy.as_ref().expect("it listens")
    }

    /// Returns the address of the admin listener.
    pub fn admin(&self) -> &Address {
        self.admin.as_ref().expect("it listens")
    }

    /// Returns a path inside its folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the ledger's file in the default setup.
    pub fn ledger(&self) -> PathBuf {
        self.path("ledger.db")
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Connects to the proxy listener.
    pub async fn connect(&self) -> Client {
        Client::connect(self.proxy()).await
    }

    /// Sends a request on a connection of its own and reads the response.
    pub async fn send(&self, request: &Request) -> Response {
        self.connect().await.send(request).await
    }

    /// Sends a GET request to the admin listener.
    pub async fn get_admin(&self, target: &str) -> Response {
        Client::connect(self.admin()).await.send(&Request::get(target).header("Connection", "close")).await
    }

    /// Waits until `/readyz` responds with 200.
    pub async fn ready(&self) {
        until("readiness", async || (self.get_admin("/readyz").await.status == 200).then_some(())).await;
    }

    /// Waits until `/readyz` responds with 503, and returns its body.
    pub async fn not_ready(&self) -> Value {
        until("unreadiness", async || {
            let response = self.get_admin("/readyz").await;
            (response.status == 503).then(|| response.json())
        })
        .await
    }

    /// Returns the text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let response = self.get_admin("/metrics").await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    }

    /// Returns the value of one series, spelled as exposed but without the prefix:
    /// `webhook_requests_total{endpoint="…",outcome="…"}`.
    #[track_caller]
    pub fn metric(&self, series: &str) -> impl Future<Output = f64> {
        let location = std::panic::Location::caller();
        async move {
            let metrics = self.metrics().await;
            read_series(&metrics, series).unwrap_or_else(|| panic!("{location}: no {series} in\n{metrics}"))
        }
    }

    /// Returns how many webhooks of the default endpoint had this outcome.
    #[track_caller]
    pub fn outcomes(&self, outcome: &str) -> impl Future<Output = f64> {
        let series = format!(r#"webhook_requests_total{{endpoint="/webhooks/stripe",outcome="{outcome}"}}"#);
        let location = std::panic::Location::caller();
        async move {
            let metrics = self.metrics().await;
            read_series(&metrics, &series).unwrap_or_else(|| panic!("{location}: no {series} in\n{metrics}"))
        }
    }

    /// Waits until a series has this value.
    #[track_caller]
    pub fn await_metric(&self, series: &str, value: f64) -> impl Future<Output = ()> {
        until(format!("{series} to be {value}"), async move || {
            let metrics = self.metrics().await;
            (read_series(&metrics, series) == Some(value)).then_some(())
        })
    }

    /// Returns every line of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Returns every line that the program has logged until now. Lines are written in order and a moment later, so this sends
    /// an unsigned webhook to the default endpoint and waits for its line.
    pub async fn complete_log(&self) -> Vec<String> {
        let markers =
            |lines: &[String]| lines.iter().filter(|line| line.contains("signature_missing")).count();
        let before = markers(&self.log());
        let unsigned = Request::post("/webhooks/stripe", "{}").header("Connection", "close");
        self.send(&unsigned).await.expect_error(400, "signature_missing");
        until("the line of an unsigned webhook", async || {
            let lines = self.log();
            (markers(&lines) > before).then_some(lines)
        })
        .await
    }

    /// Waits for a log line.
    #[track_caller]
    pub fn wait_for_log(
        &self,
        what: impl Into<String>,
        wanted: impl Fn(&Value) -> bool,
    ) -> impl Future<Output = Value> {
        let mut lines = self.lines.clone();
        within(format!("a log line: {}", what.into()), async move {
            let find = |all: &[String]| {
                all.iter().filter_map(|line| serde_json::from_str(line).ok()).find(|line| wanted(line))
            };
            let all = lines.wait_for(|all| find(all).is_some()).await.expect("it logs until it ends");
            find(&all).expect("just found")
        })
    }

    /// Waits for the log line of a webhook with this event and outcome.
    #[track_caller]
    pub fn wait_for_webhook_log(&self, event: &str, outcome: &str) -> impl Future<Output = Value> {
        self.wait_for_log(format!("{event} {outcome}"), move |line| {
            line["event.id"] == event && line["outcome"] == outcome
        })
    }

    /// Sends SIGTERM, which asks the program to end.
    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Stops reading the log after its next line. The pipe stays open and fills up.
    pub fn pause_log(&self) {
        self.reader.set(ReadAction::Pause);
    }

    /// Reads the log again.
    pub fn resume_log(&self) {
        self.reader.set(ReadAction::Read);
    }

    /// Closes the pipe of the log after its next line, as a log shipper does that is killed.
    pub fn close_log(&self) {
        self.reader.set(ReadAction::Close);
    }

    /// Sends SIGHUP, which asks the program to reload its configuration.
    pub fn sighup(&self) {
        self.signal("HUP");
    }

    /// Suspends the program: it stays up and does nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes the program after [`Program::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills the program, as a power cut would, and waits for its end.
    pub fn kill9(&mut self) {
        self.end();
    }

    /// Waits until the program ends.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        within("the program ends", async {
            loop {
                if let Some(status) = child.try_wait().expect("our own child") {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Rewrites the configuration file, which [`Program::sighup`] then loads.
    pub fn reconfigure(&self, setup: &Setup) {
        std::fs::write(self.path(CONFIG), setup.text()).expect("the configuration");
    }

    /// Returns the resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Returns the peak of the resident memory in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        let status = Command::new("/bin/sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{kill}");
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
        self.reader.set(ReadAction::Close);
        if std::thread::panicking() {
            let log = self.log().join("\n");
            eprintln!("--- log of the program started with\n{}\n{log}\n---", self.setup.text());
        }
    }
}

/// Returns the command that starts the program, with the sockets of the setup as systemd passes them.
fn command(setup: &Setup) -> Command {
    let program = env!("CARGO_BIN_EXE_countersign");
    let Some(sockets) = &setup.sockets else {
        let mut command = match setup.open_files {
            Some((soft, hard)) => {
                let mut shell = Command::new("/bin/sh");
                let script = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec {program} \"$@\"");
                shell.args(["-c", &script, "sh"]);
                shell
            }
            None => Command::new(program),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        return command;
    };
    // A child inherits its standard streams only, so that the shell moves the sockets from there.
    let script = format!(
        "exec 3<&0 4>&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=server:admin \
         exec {program} \"$@\""
    );
    let mut command = Command::new("/bin/sh");
    let copy = |socket: &OwnedFd| Stdio::from(socket.try_clone().expect("a file descriptor"));
    command.args(["-c", &script, "sh"]).stdin(copy(&sockets.server)).stdout(copy(&sockets.admin));
    command
}

fn read_series(metrics: &str, series: &str) -> Option<f64> {
    let of = |line: &'_ str| {
        line.strip_prefix("countersign_")?.strip_prefix(series)?.strip_prefix(' ')?.parse().ok()
    };
    metrics.lines().find_map(of)
}
