//! What the process manager is told of the program's state, as systemd is (sd_notify(3)).

use crate::harness::{Backend, Program, Setup, Sockets, within};
use tempfile::TempDir;
use tokio::net::UnixDatagram;

const STOPPING: &str = "STOPPING=1\nSTATUS=finishing requests in progress\n";
const ACCEPTING: &str = "READY=1\nSTATUS=accepting connections\n";

/// The process manager's end: a socket in a folder of its own.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn open() -> Self {
        let folder = TempDir::new().unwrap();
        Self { socket: UnixDatagram::bind(folder.path().join("notify")).unwrap(), folder }
    }

    /// Adds the variable that asks for notifications.
    fn watching(&self, setup: Setup) -> Setup {
        setup.env("NOTIFY_SOCKET", self.folder.path().join("notify").to_str().unwrap())
    }

    async fn notified(&self) -> String {
        let mut bytes = [0; 512];
        let length = within("a notification", self.socket.recv(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    async fn expect_reloading(&self) {
        let reloading = self.notified().await;
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().is_ok_and(|time| time > 0), "{reloading}");
    }
}

#[tokio::test]
async fn process_manager_is_told_when_the_program_is_ready_stands_by_and_stops() {
    let (backend, manager) = (Backend::start().await, Manager::open());
    let setup = manager.watching(Setup::new(&backend).sockets(&Sockets::open()));
    let mut first = Program::start(setup).await;
    assert_eq!(manager.notified().await, ACCEPTING);
    let mut second = first.start_standing_by().await;
    let standing_by = "READY=1\nSTATUS=standing by for another process to stop\n";
    assert_eq!(manager.notified().await, standing_by);
    second.sighup();
    manager.expect_reloading().await;
    assert_eq!(manager.notified().await, standing_by);
    second.sigterm();
    assert_eq!(manager.notified().await, STOPPING);
    assert!(second.wait_exit().await.success());
    first.sigterm();
    assert_eq!(manager.notified().await, STOPPING);
    assert!(first.wait_exit().await.success());
}

#[tokio::test]
async fn process_manager_is_told_when_a_reload_begins_and_how_it_ended() {
    let (backend, manager) = (Backend::start().await, Manager::open());
    let setup = manager.watching(Setup::new(&backend));
    let program = Program::start(setup.clone()).await;
    assert_eq!(manager.notified().await, ACCEPTING);
    program.reconfigure(&setup.clone().set("webhook.secrets", vec!["{file.no-such-file}"]));
    program.sighup();
    manager.expect_reloading().await;
    assert_eq!(
        manager.notified().await,
        "READY=1\nSTATUS=accepting connections; the last reload failed, and the old configuration stays in force\n"
    );
    program.reconfigure(&setup);
    program.sighup();
    manager.expect_reloading().await;
    assert_eq!(manager.notified().await, ACCEPTING);
}

#[tokio::test]
async fn process_manager_that_watches_is_told_again_and_again_that_the_program_is_alive() {
    let (backend, manager) = (Backend::start().await, Manager::open());
    let setup = manager.watching(Setup::new(&backend)).env("WATCHDOG_USEC", "200000");
    let _program = Program::start(setup).await;
    let mut alive = 0;
    while alive < 3 {
        match manager.notified().await.as_str() {
            "WATCHDOG=1\n" => alive += 1,
            other => assert_eq!(other, ACCEPTING),
        }
    }
}
