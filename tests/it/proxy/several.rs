//! Several addresses of the backend, one of which leads nowhere.

use crate::harness::{Backend, BlackHole, Event, Program, Request, Setup, at_most};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn address_that_answers_nothing_costs_no_request() {
    let (gone, live) = (BlackHole::open().await, Backend::start().await);
    for urls in [[gone.url(), live.url()], [live.url(), gone.url()]] {
        let setup = Setup::new(&live).set("backend.url", Vec::from(urls));
        let program = Program::start(setup).await;
        let page = Request::get("/posts/1");
        // The first ones may wait for the address that is gone.
        for response in join_all((0..10).map(|_| program.send(&page))).await {
            assert_eq!(response.status, 200);
        }
        let since = Instant::now();
        for _ in 0..20 {
            assert_eq!(program.send(&Request::post("/api/x", "a=b")).await.status, 200);
            program.send(&Event::checkout().signed()).await.expect_delivered(200);
        }
        // 40 s, if each waited for it.
        assert!(since.elapsed() < at_most(Duration::from_secs(10)), "{:?}", since.elapsed());
    }
}
