//! The backend's name: what happens when it ceases to exist, when its name server fails, and when its address changes.
//! Each test has a network and a name server of its own.

use crate::harness::{Backend, Event, NameServer, Names, Program, Request, Setup, alone, until};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::Instant;

const OLD: Names = Names::Address(Ipv4Addr::new(127, 0, 0, 1));
const NEW: Names = Names::Address(Ipv4Addr::new(127, 0, 0, 2));

/// How long an address outlives its name, by `NO_SUCH_NAME_GRACE` in `src/backend/resolve.rs`.
const GRACE: Duration = Duration::from_secs(30);

/// Starts a program whose backend has this name, and the port of `backend`.
async fn program_to(name: &str, backend: &Backend) -> Program {
    let program = Program::start(Setup::to(&format!("http://{name}:{}", backend.address().port()))).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    program
}

/// Sends pages until one gets a 502. Returns how long that took.
async fn unreachable(program: &Program) -> Duration {
    let since = Instant::now();
    loop {
        let page = program.send(&Request::get("/posts/1")).await;
        if page.status != 200 {
            page.expect_error(502, "backend_unreachable");
            return since.elapsed();
        }
        assert!(since.elapsed() < 3 * GRACE, "the old address is still in use");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn address_is_given_up_after_30_s_without_its_name_and_kept_while_the_name_server_fails() {
    if !alone(
        "proxy::names::address_is_given_up_after_30_s_without_its_name_and_kept_while_the_name_server_fails",
    ) {
        return;
    }
    let names = NameServer::start();
    let old = Backend::start().await;
    let new = Backend::start_beside(&old).await;
    let all = ["gone.test", "empty.test", "failing.test", "silent.test"];
    for name in all {
        names.set(name, OLD);
    }
    let [gone, empty, failing, silent] = {
        let [a, b, c, d] = all.map(|name| program_to(name, &old));
        tokio::join!(a, b, c, d).into()
    };
    names.set("gone.test", Names::NoSuchName);
    names.set("empty.test", Names::Empty);
    names.set("failing.test", Names::Failure);
    names.set("silent.test", Names::Silence);
    let given_up: [Duration; 2] = tokio::join!(unreachable(&gone), unreachable(&empty)).into();
    for after in given_up {
        assert!(after > GRACE - Duration::from_secs(1), "given up after {after:?}");
    }

    // The old address still listens, and pooled connections to it exist. Nothing goes there.
    let seen = old.count();
    for program in [&gone, &empty] {
        let event = Event::checkout();
        program.send(&event.signed()).await.expect_error(502, "backend_unreachable");
        program.send(&Request::post("/api/x", "a=b")).await.expect_error(502, "backend_unreachable");
        let warnings = program.complete_log().await.join("\n").matches("name no longer exists").count();
        assert_eq!(warnings, 1);
    }
    assert_eq!((old.count(), new.count()), (seen, 0));
    // The others have had the same time.
    for program in [&failing, &silent] {
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
    }
    assert_eq!((old.count(), new.count()), (seen + 4, 0));

    // A new address is taken up by all of them.
    for name in all {
        names.set(name, NEW);
    }
    for program in [&gone, &empty, &failing, &silent] {
        let before = new.count();
        until("the new address", async || {
            program.send(&Request::get("/posts/1")).await;
            (new.count() > before).then_some(())
        })
        .await;
        let seen = (old.count(), new.count());
        program.send(&Event::checkout().signed()).await.expect_delivered(200);
        assert_eq!((old.count(), new.count()), (seen.0, seen.1 + 1));
    }
}

#[tokio::test]
async fn name_that_is_missing_for_less_than_30_s_keeps_its_address() {
    if !alone("proxy::names::name_that_is_missing_for_less_than_30_s_keeps_its_address") {
        return;
    }
    let names = NameServer::start();
    let backend = Backend::start().await;
    names.set("shop.test", OLD);
    let program = program_to("shop.test", &backend).await;
    // Together the name is missing for longer than the limit, but never at one time.
    for _ in 0..2 {
        names.set("shop.test", Names::NoSuchName);
        tokio::time::sleep(GRACE * 8 / 15).await;
        assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
        names.set("shop.test", OLD);
        // Lookups are at most 2.25 s apart.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn names_of_the_hosts_file_and_of_the_search_domain_resolve() {
    if !alone("proxy::names::names_of_the_hosts_file_and_of_the_search_domain_resolve") {
        return;
    }
    let names = NameServer::start();
    let backend = Backend::start().await;
    names.set("backend.shop.internal", OLD);
    program_to("backend", &backend).await;
    program_to("hosts.test", &backend).await;
    assert_eq!(backend.count(), 2);
}
