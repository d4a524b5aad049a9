//! The client as the backend sees it: `X-Forwarded-For`, `-Proto` and `-Host`, of webhooks and pages alike.

use crate::harness::{Backend, Event, OTHER_SECRET, Program, Received, Request, Setup};

/// The lines that a peer sends, and those that the backend gets.
type ForwardedCase = (&'static [&'static str], &'static [&'static str]);

/// What a peer that is trusted sends.
const BY_TRUSTED_PEER: [ForwardedCase; 6] = [
    (
        &["X-Forwarded-For: ", "X-Forwarded-Proto: ", "X-Forwarded-Host: "],
        &["X-Forwarded-For: ", "X-Forwarded-Proto: ", "X-Forwarded-Host: "],
    ),
    (
        &["X-Forwarded-For: 203.0.113.9, 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a:444"],
        &["X-Forwarded-For: 203.0.113.9, 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a:444"],
    ),
    (
        &[
            "x-forwarded-for: unknown",
            "X-FORWARDED-FOR: 203.0.113.9:4711,198.51.100.2",
            "X-Forwarded-Proto: wss",
        ],
        &[
            "x-forwarded-for: unknown",
            "X-FORWARDED-FOR: 203.0.113.9:4711,198.51.100.2",
            "X-Forwarded-Proto: wss",
            "X-Forwarded-Host: shop.example",
        ],
    ),
    (
        &["X-Forwarded-Host: b", "X-Forwarded-Host: a, b", "X-Forwarded-For: "],
        &["X-Forwarded-Host: b", "X-Forwarded-Host: a, b", "X-Forwarded-For: ", "X-Forwarded-Proto: http"],
    ),
    (
        &["X_Forwarded_For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Forwarded-Port: 444"],
        &[
            "Forwarded: for=203.0.113.9",
            "X-Forwarded-Port: 444",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: shop.example",
        ],
    ),
    (&[], &["X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: shop.example"]),
];

/// Returns a page, a webhook, and a webhook that a dry run passes on.
fn one_of_each_kind() -> [Request; 3] {
    let forged = Event::checkout().signed_by(&[OTHER_SECRET]);
    [Request::get("/posts/1"), Event::checkout().signed(), forged]
}

fn with_lines(request: Request, lines: &[&str]) -> Request {
    let fields = lines.iter().filter_map(|line| line.split_once(": "));
    fields.fold(request, |request, (name, value)| request.header(name, value))
}

/// Returns the lines that tell who the client is, as they arrived.
fn forwarded_lines(got: &Received) -> Vec<String> {
    let names = ["x-forwarded-", "x_forwarded_", "forwarded"];
    let head = String::from_utf8(got.head.clone()).unwrap();
    let is_forwarded = |line: &&str| names.iter().any(|name| line.to_lowercase().starts_with(name));
    head.split("\r\n").filter(is_forwarded).map(str::to_owned).collect()
}

/// Sends one request of each kind with these lines, and returns what the backend got.
async fn pass(program: &Program, backend: &Backend, sent: &[&str]) -> Vec<Received> {
    let before = backend.count();
    let mut got = vec![];
    for request in one_of_each_kind() {
        assert_eq!(program.send(&with_lines(request, sent)).await.status, 200);
        got.push(backend.await_request(before + got.len() + 1).await);
    }
    got
}

#[tokio::test]
async fn forwarded_lines_of_a_trusted_peer_pass_unchanged_and_missing_ones_are_added() {
    for delivery in ["inline", "hybrid", "queued"] {
        let backend = Backend::start().await;
        let setup = Setup::new(&backend).set("webhook.enforce", false).delivery(delivery);
        let program = Program::start(setup).await;
        for (sent, arrives) in BY_TRUSTED_PEER {
            for got in pass(&program, &backend, sent).await {
                let (mut lines, mut arrives) = (forwarded_lines(&got), arrives.to_vec());
                // The lines of a page move behind its other headers.
                if got.method == "GET" {
                    lines.sort();
                    arrives.sort_unstable();
                }
                assert_eq!(lines, arrives, "{delivery} {} {sent:?}", got.target);
            }
        }
    }
}

#[tokio::test]
async fn forwarded_lines_of_another_peer_are_replaced_by_what_is_known_of_it() {
    for delivery in ["inline", "queued"] {
        let backend = Backend::start().await;
        let setup = Setup::new(&backend).set("webhook.enforce", false).delivery(delivery);
        let program = Program::start(setup.set("server.trusted_proxies", vec!["203.0.113.0/24"])).await;
        for (sent, _) in BY_TRUSTED_PEER {
            for got in pass(&program, &backend, sent).await {
                let mut lines = forwarded_lines(&got);
                // It names neither the client nor a host. No list of ours has it, and no proxy overwrites it.
                lines.retain(|line| line != "X-Forwarded-Port: 444");
                assert_eq!(
                    lines,
                    [
                        "X-Forwarded-For: 127.0.0.1",
                        "X-Forwarded-Proto: http",
                        "X-Forwarded-Host: shop.example"
                    ],
                    "{delivery} {} {sent:?}",
                    got.target
                );
            }
        }
    }
}

#[tokio::test]
async fn path_behind_an_empty_forwarded_host_is_judged_without_its_first_segment() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend)).await;
    // `new URL("http://" + "" + "/x/webhooks/stripe")` has the host `x` and the path `/webhooks/stripe`.
    let request = Request::post("/x/webhooks/stripe", "{}");
    let with_host = |host| request.clone().header("X-Forwarded-Host", host);
    program.send(&with_host("")).await.expect_error(400, "ambiguous_path");
    assert_eq!(program.send(&with_host("a")).await.status, 200);
    let page = Request::get("/x/posts/1").header("X-Forwarded-Host", "");
    assert_eq!(program.send(&page).await.status, 200);
    assert_eq!(backend.count(), 2);
}
