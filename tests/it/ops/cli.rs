//! Every verb but `run`, as a shell sees it: standard output, standard error, exit status.

use countersign::stripe::signature::{Secret, verify};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const SECRET: &str = "whsec_clitest";

/// Runs the program with these arguments, exactly this environment, and `input` on standard input.
fn countersign_with(arguments: &[&str], env: &[(&str, &str)], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn countersign(arguments: &[&str]) -> Output {
    countersign_with(arguments, &[("STRIPE_WEBHOOK_SECRET", SECRET)], b"")
}

trait OutputText {
    fn code(&self) -> i32;
    fn out(&self) -> String;
    fn err(&self) -> String;
}

impl OutputText for Output {
    fn code(&self) -> i32 {
        self.status.code().unwrap()
    }
    fn out(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
    fn err(&self) -> String {
        String::from_utf8(self.stderr.clone()).unwrap()
    }
}

/// A request as received.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).unwrap_or_default().1
    }

    fn is_genuine(&self) -> bool {
        let now = i64::try_from(countersign::clock::unix().as_secs()).unwrap();
        let header = self.header("stripe-signature").as_bytes();
        verify(&[Secret::new(SECRET)], [header], &self.body, now, 300).is_ok()
    }

    fn id(&self) -> String {
        let event: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        event["id"].as_str().unwrap().to_owned()
    }
}

/// Starts a server that gives every request the same response, and reports each request.
struct Server {
    url: String,
    requests: Receiver<Request>,
}

impl Server {
    fn responding(status: &'static str, outcome: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/webhooks/stripe", listener.local_addr().unwrap());
        let (tell, requests) = channel();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let Some(request) = read(&mut socket) else { continue };
                let length = body.len();
                let outcome = match outcome {
                    "" => String::new(),
                    outcome => format!("Countersign-Outcome: {outcome}\r\n"),
                };
                let response = format!(
                    "HTTP/1.1 {status}\r\n{outcome}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                socket.write_all(response.as_bytes()).unwrap();
                if tell.send(request).is_err() {
                    break;
                }
            }
        });
        Self { url, requests }
    }

    fn request(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(10)).expect("a request came")
    }

    fn is_quiet(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn read(socket: &mut TcpStream) -> Option<Request> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        match socket.read(&mut buffer).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    };
    let mut request =
        Request { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes.split_off(end) };
    let length: usize = request.header("content-length").parse().unwrap_or(0);
    while request.body.len() < length {
        match socket.read(&mut buffer).ok()? {
            0 => return None,
            read => request.body.extend_from_slice(&buffer[..read]),
        }
    }
    Some(request)
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn help_exits_with_0_and_wrong_usage_does_not() {
    let help = countersign(&["--help"]);
    assert_eq!((help.code(), help.err().as_str()), (0, ""));
    for verb in ["run", "check", "sign", "send", "events", "reconcile"] {
        assert!(help.out().contains(&format!("\n  {verb} ")), "{}", help.out());
        assert_eq!(countersign(&[verb, "--help"]).code(), 0);
    }
    let version = countersign(&["--version"]);
    assert_eq!(version.out(), format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
    for wrong in
        [&["serve"][..], &[], &["send", "--times", "0"], &["send", "not a url"], &["send", "--type", "x"]]
    {
        let output = countersign(wrong);
        assert_eq!((output.code(), output.out().as_str()), (2, ""), "{wrong:?}");
        assert!(!output.err().is_empty());
    }
}

#[test]
fn run_refuses_to_start_with_an_invalid_configuration() {
    let output = countersign_with(&["run", "--config", "tests/config/secret_unset.toml"], &[], b"");
    assert_eq!((output.code(), output.out().as_str()), (78, ""));
    assert!(
        output.err().starts_with("tests/config/secret_unset.toml:1: webhook.secrets: found "),
        "{}",
        output.err()
    );
}

#[test]
fn check_prints_a_summary_of_a_valid_configuration() {
    let output = countersign_with(
        &["check", "--config", "tests/config/good_every_key.toml"],
        &[
            ("STRIPE_WEBHOOK_SECRET", "whsec_hush1,whsec_hush2"),
            ("CONNECT_SECRET", "whsec_hush3"),
            ("DELIVERY_SECRET", "whsec_hush4"),
            ("SELLING_KEY", "rk_live_hush5"),
            ("ADMIN", "hush6-hush6-hush6"),
        ],
        b"",
    );
    assert_eq!((output.code(), output.err().as_str()), (0, ""));
    for line in [
        "configuration  tests/config/good_every_key.toml",
        "server         127.0.0.1:8000",
        "admin          unix//run/admin.sock, with the events API",
        "backend        http://[::1]:8081",
        "ledger         sqlite:/var/lib/countersign/ledger.db",
        "webhook        /webhooks/stripe (shop), 2 secrets, deliveries signed with a secret of their own",
        "webhook        /webhooks/stripe/connect, 3 secrets",
        "checkout       /api/checkout /shop/buy, 3 prices, a live key",
        "warning        webhook \"shop\" is a dry run",
    ] {
        assert!(output.out().contains(line), "{line} is not in:\n{}", output.out());
    }
    assert!(!output.out().contains("hush"), "{}", output.out());
}

#[test]
fn check_warns_of_a_secret_without_whsec_by_its_position() {
    let secrets = "whsec_hush1,0123456789hush,ws_hush";
    let output = countersign_with(&["check"], &[("STRIPE_WEBHOOK_SECRET", secrets)], b"");
    assert_eq!((output.code(), output.err().as_str()), (0, ""));
    let warnings: Vec<_> =
        output.out().lines().filter(|line| line.starts_with("warning")).map(str::to_owned).collect();
    let expected = |number| {
        format!(
            "warning        webhook \"/webhooks/stripe\": secret {number} of 3 does not begin with whsec_, as Stripe's \
             signing secrets do: check that it is the signing secret of the endpoint at Stripe"
        )
    };
    assert_eq!(warnings, [expected(2), expected(3)]);
    assert!(!output.out().contains("hush"), "{}", output.out());
}

#[test]
fn check_warns_of_an_event_type_that_stripe_does_not_have_and_names_the_nearest() {
    let text = r#"
        [[webhook]]
        path = "/a"
        types = ["checkout.sessions.completed", "invoice.*", "v2.core.event", "shop.order"]
        [[webhook.rule]]
        types = ["charge.refund"]
        delivery = "queued"
    "#;
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("types.toml");
    std::fs::write(&path, text).unwrap();
    let output = countersign(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!((output.code(), output.err().as_str()), (0, ""));
    let warnings: Vec<_> =
        output.out().lines().filter(|line| line.starts_with("warning")).map(str::to_owned).collect();
    let expected = |wrong: &str, advice: &str| {
        format!(
            "warning        webhook \"/a\": types has \"{wrong}\", which this version does not know as an event type of \
             Stripe's: {advice}"
        )
    };
    assert_eq!(
        warnings,
        [
            expected("checkout.sessions.completed", "did you mean \"checkout.session.completed\"?"),
            expected("shop.order", "check its spelling. If it is new at Stripe, this is no mistake"),
            expected("charge.refund", "did you mean \"charge.refunded\"?"),
        ]
    );
}

#[test]
fn check_warns_of_limits_that_do_not_do_what_they_seem_to() {
    let output = countersign_with(
        &["check", "--config", "tests/config/good_limits.toml"],
        &[("SECRET", "whsec_hush1")],
        b"",
    );
    assert_eq!((output.code(), output.err().as_str()), (0, ""));
    let warnings: Vec<_> =
        output.out().lines().filter(|line| line.starts_with("warning")).map(str::to_owned).collect();
    assert_eq!(
        warnings,
        [
            "warning        webhook \"/a\": max_inline is 21, but server.max_webhooks allows no more than 20 webhooks at once",
            "warning        webhook \"/b\": max_concurrent is 1, so no slot is reserved for hybrid events: they wait behind \
             a backlog of queued ones",
        ]
    );
}

#[test]
fn check_prints_every_error_to_standard_error() {
    let file = "tests/config/everything_at_once.toml";
    let output = countersign_with(
        &["check"],
        &[("COUNTERSIGN_CONFIG", file), ("BACKEND_URL", "h2c://shop.example")],
        b"",
    );
    assert_eq!((output.code(), output.out().as_str()), (78, ""));
    let golden = std::fs::read_to_string("tests/config/everything_at_once.txt").unwrap();
    assert_eq!(output.err(), format!("{}6 errors\n", golden.replace("everything_at_once.toml", file)));
    let output = countersign(&["check", "--config", "/nonexistent/c.toml"]);
    assert_eq!(output.code(), 78);
    assert!(
        output.err().starts_with("/nonexistent/c.toml: found a file that cannot be read"),
        "{}",
        output.err()
    );
}

#[test]
fn check_probe_reaches_backend_and_ledger_or_names_the_unreachable_one() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = format!("http://{}", listener.local_addr().unwrap());
    let ledger = format!("sqlite:{}", folder.path().join("l.db").display());
    let probe = |backend: &str, ledger: &str| {
        let env = [("STRIPE_WEBHOOK_SECRET", SECRET), ("BACKEND_URL", backend), ("LEDGER_URL", ledger)];
        countersign_with(&["check", "--probe"], &env, b"")
    };
    let output = probe(&backend, &ledger);
    assert_eq!(output.code(), 0, "{}", output.out());
    assert_eq!(output.out().matches(" ok: ").count(), 2);
    let output = probe(&backend, "sqlite:/proc/self/none/l.db");
    assert_eq!(output.code(), 1);
    assert_eq!(
        (output.out().matches(" ok: ").count(), output.out().matches("ledger         FAILED: ").count()),
        (1, 1)
    );
    drop(listener);
    let output = probe(&backend, &ledger);
    assert_eq!(output.code(), 1);
    assert!(output.out().contains("backend        FAILED: "), "{}", output.out());
}

#[test]
fn check_live_asks_the_running_program_and_ignores_the_rest_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::responding("200 OK", "", "");
    let address = server.url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let file =
        write(folder.path(), "c.toml", &format!("[admin]\nlisten = \"{address}\"\n[[webhook]]\nno = 1\n"));
    let output = countersign_with(&["check", "--live", "--config", &file], &[], b"");
    assert_eq!((output.code(), output.out()), (0, format!("{address} is alive\n")), "{}", output.err());
    assert!(server.request().head.starts_with("GET /livez HTTP/1.1\r\n"));
    let draining = Server::responding("503 Service Unavailable", "", "");
    let address = draining.url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let output = countersign_with(&["check", "--live"], &[("ADMIN_LISTEN", &address)], b"");
    assert_eq!((output.code(), output.out().as_str()), (1, ""));
    assert!(output.err().contains("503"), "{}", output.err());
}

#[test]
fn sign_gives_the_same_signature_for_a_file_and_for_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let payload = "{\"id\": \"evt_1\"}\n";
    let file = write(folder.path(), "event.json", payload);
    let secret = write(folder.path(), "secret", "whsec_one,whsec_two\n");
    let flags = ["--timestamp", "1700000000", "--secret-file", &secret];
    let from_file = countersign_with(&[&["sign", file.as_str()][..], &flags].concat(), &[], b"");
    assert_eq!(from_file.code(), 0, "{}", from_file.err());
    for arguments in [vec!["sign"], vec!["sign", "-"]] {
        let from_input = countersign_with(&[&arguments[..], &flags].concat(), &[], payload.as_bytes());
        assert_eq!(from_input.out(), from_file.out());
    }
    let header = from_file.out().trim_end().to_owned();
    for secret in ["whsec_one", "whsec_two"] {
        let verdict =
            verify(&[Secret::new(secret)], [header.as_bytes()], payload.as_bytes(), 1_700_000_000, 300);
        assert_eq!(verdict.map(|found| found.timestamp), Ok(1_700_000_000));
    }
}

#[test]
fn sign_without_a_timestamp_uses_the_current_time() {
    let output = countersign_with(&["sign"], &[("STRIPE_WEBHOOK_SECRET", SECRET)], b"x");
    let request =
        Request { head: format!("\r\nStripe-Signature: {}", output.out().trim()), body: b"x".to_vec() };
    assert!(request.is_genuine(), "{}", output.out());
}

#[test]
fn sign_and_send_fail_without_a_secret() {
    let server = Server::responding("200 OK", "delivered", "");
    for env in [&[][..], &[("STRIPE_WEBHOOK_SECRET", "")]] {
        for arguments in [&["sign"][..], &["send", &server.url]] {
            let output = countersign_with(arguments, env, b"");
            assert_eq!((output.code(), output.out().as_str()), (78, ""), "{arguments:?}");
            assert!(output.err().contains("secret"), "{}", output.err());
        }
    }
    assert!(server.is_quiet());
}

#[test]
fn send_posts_a_signed_event_as_stripe_does_and_prints_the_response() {
    let server = Server::responding("200 OK", "delivered", "{\"ok\":\n  true}");
    let output =
        countersign(&["send", &server.url, "--type", "invoice.paid", "--id", "evt_1mine", "--livemode"]);
    assert_eq!(output.code(), 0, "{}", output.err());
    let request = server.request();
    assert!(request.head.starts_with("POST /webhooks/stripe HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("user-agent"), "Stripe/1.0 (+https://stripe.com/docs/webhooks)");
    assert_eq!(request.header("content-type"), "application/json; charset=utf-8");
    assert!(request.is_genuine());
    let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(event["id"], "evt_1mine");
    assert_eq!(event["type"], "invoice.paid");
    assert_eq!(event["livemode"], true);
    let out = output.out();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[..2], [format!("POST {}", server.url).as_str(), "evt_1mine invoice.paid"]);
    assert!(
        lines[2].starts_with("  200 delivered in ") && lines[2].ends_with(" ms: {\"ok\": true}"),
        "{}",
        lines[2]
    );
    assert!(!out.contains(SECRET) && !out.contains(request.header("stripe-signature")));
}

#[test]
fn send_times_repeats_one_event_and_count_makes_new_ones() {
    let server = Server::responding("200 OK", "delivered", "");
    let output = countersign(&["send", &server.url, "--count", "2", "--times", "3"]);
    assert_eq!(output.code(), 0, "{}", output.err());
    let requests: Vec<_> = (0..6).map(|_| server.request()).collect();
    assert!(requests.iter().all(Request::is_genuine));
    for copies in requests.chunks(3) {
        assert!(copies.iter().all(|copy| copy.body == copies[0].body));
    }
    assert_ne!(requests[0].id(), requests[3].id());
    assert!(requests[0].id().starts_with("evt_1") && requests[0].id().len() == 28, "{}", requests[0].id());
    assert_eq!(output.out().matches(", copy 3\n").count(), 2, "{}", output.out());
}

#[test]
fn send_list_prints_types_that_can_all_be_sent() {
    let server = Server::responding("200 OK", "delivered", "");
    let list = countersign_with(&["send", "--list"], &[], b"").out();
    let types: Vec<_> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(types.len() >= 7 && types.contains(&"checkout.session.completed"), "{list}");
    for kind in types {
        assert_eq!(countersign(&["send", &server.url, "--type", kind]).code(), 0);
        let event: serde_json::Value = serde_json::from_slice(&server.request().body).unwrap();
        assert_eq!(event["type"], kind);
    }
}

#[test]
fn send_file_sends_the_files_bytes_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::responding("200 OK", "delivered", "");
    let payload = "{ \"type\":\"a.b\",\"id\":\"evt_2\"}\r\n\n ";
    let file = write(folder.path(), "event.json", payload);
    let output = countersign(&["send", &server.url, "--file", &file]);
    let request = server.request();
    assert_eq!((output.code(), request.body.as_slice()), (0, payload.as_bytes()));
    assert!(request.is_genuine());
    assert!(output.out().contains("\nevt_2 a.b\n"), "{}", output.out());
}

#[test]
fn send_forge_and_alter_succeed_only_if_refused() {
    for flag in ["--forge", "--alter"] {
        let refusing = Server::responding("400 Bad Request", "signature_mismatch", "{}");
        let output = countersign(&["send", &refusing.url, flag]);
        assert_eq!(output.code(), 0, "{}", output.err());
        assert!(output.out().contains("  400 signature_mismatch in "), "{}", output.out());
        assert!(!refusing.request().is_genuine());
        let accepting = Server::responding("200 OK", "delivered", "");
        let output = countersign(&["send", &accepting.url, flag]);
        assert_eq!((output.code(), output.err().as_str()), (1, "1 of 1 not rejected (4xx)\n"));
        // A backend rejects what reached it on a path that no webhook has: nothing verified the signature.
        let unguarded = Server::responding("404 Not Found", "", "");
        let output = countersign(&["send", &unguarded.url, flag]);
        assert_eq!((output.code(), output.err().as_str()), (1, "1 of 1 not rejected (4xx)\n"));
        assert!(
            output.out().contains("does a [[webhook]] have the path /webhooks/stripe?"),
            "{}",
            output.out()
        );
        // A connection that breaks is not a refusal.
        let failing = Server::responding("502 Bad Gateway", "backend_unreachable", "");
        assert_eq!(countersign(&["send", &failing.url, flag]).code(), 1);
    }
    let server = Server::responding("400 Bad Request", "signature_mismatch", "");
    assert_eq!(
        countersign_with(&["send", &server.url, "--forge"], &[], b"").code(),
        0,
        "a forger has no secret"
    );
}

#[test]
fn events_list_fails_at_a_server_that_is_not_the_admin_listener() {
    let server = Server::responding("200 OK", "", "[]");
    let listen = server.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let env = [
        ("STRIPE_WEBHOOK_SECRET", SECRET),
        ("ADMIN_LISTEN", listen),
        ("COUNTERSIGN_ADMIN_TOKEN", "a-token-of-the-tests"),
    ];
    let output = countersign_with(&["events", "list"], &env, b"");
    let expected = format!("{listen}: no list of events: is this Countersign's admin listener?\n");
    assert_eq!((output.code(), output.err()), (1, expected));
}

#[test]
fn send_fails_if_an_event_is_refused_or_gets_no_response() {
    let server = Server::responding("400 Bad Request", "signature_mismatch", "");
    let output = countersign(&["send", &server.url, "--times", "2"]);
    assert_eq!((output.code(), output.err().as_str()), (1, "2 of 2 not accepted (2xx)\n"));
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = countersign(&["send", &format!("http://{unused}/")]);
    assert_eq!(output.code(), 1);
    assert!(
        output.out().contains("  no response after ") && output.out().contains("Connection refused"),
        "{}",
        output.out()
    );
}
