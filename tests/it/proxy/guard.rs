//! The guard over HTTP: no spelling of a webhook path passes unverified, and no other path is affected.

use crate::harness::{Backend, Client, Event, Program, Request, Setup};

/// Spellings that some router reads as `/webhooks/stripe` or as a path below it.
const AMBIGUOUS: &[&str] = &[
    "//webhooks/stripe",
    "/webhooks//stripe",
    "/webhooks/stripe/",
    "/webhooks/stripe//",
    "/webhooks/%73tripe",
    "/webhooks/%2573tripe",
    "/webhooks/%252573tripe",
    "/webhooks/%25252573tripe",
    "/webhooks/%2525252573tripe",
    "/webhooks%2Fstripe",
    "/webhooks%2fstripe",
    "/%77%65%62hooks/stripe",
    "/Webhooks/Stripe",
    "/WEBHOOKS/STRIPE/",
    "/webhooks/stripe.json",
    "/webhooks/stripe.",
    "/webhooks/stripe%20",
    "/webhooks/stripe%0a",
    "/webhooks/stripe%09",
    "/webhooks/stripe%00",
    "/webhooks/stripe/x",
    "/webhooks/stripe/x?y=1",
    "/index.php/webhooks/stripe",
    "/app.cgi/webhooks/stripe",
    "/x/../webhooks/stripe;a=b",
    "/x/%2e%2e/webhooks/stripe",
    "/./webhooks/stripe",
    "/webhooks/./stripe",
    "/webhooks/x/../stripe",
    "/webhooks;v=1/stripe",
    "/webhooks/stripe;jsessionid=1",
    "/webhooks/stripe%3fx=1",
    "/webhooks/stripe%23x",
    "/\\webhooks\\stripe",
    "/webhooks%5cstripe",
    "/webhooks/%C5%BFtripe",
    "/webhoo%E2%84%AAs/stripe",
    "/webhooks/str%C4%B0pe",
    "/webhooks/str%C4%B1pe",
    "/webhooks/%EF%BD%93tripe",
    "/webhooks%C0%AFstripe",
    "/webhooks/%C1%B3tripe",
    "/webhooks/%u0073tripe",
    "/webhooks/stripe%ff",
    "/webhooks/stripe%",
    "/webhooks/stripe+",
    "/%20webhooks/stripe",
    "/web%01hooks/stripe",
    "/?/webhooks/stripe",
    "/index.php?/webhooks/stripe&x=1",
    "http://shop.example/Webhooks/Stripe",
    "http://shop.example//webhooks/stripe?x=1",
];

/// Other paths, some of them unusual.
const ORDINARY: &[&str] = &[
    "/",
    "/webhooks",
    "/webhooks/",
    "/webhooks/stripes",
    "/webhooks/github",
    "/webhooks/github/stripe",
    "/webhooks/stripe-test",
    "/webhooks/strip",
    "/api/webhooks/stripe",
    "/a%2Fb/c%2fd",
    "//a///b//",
    "/a/./b/../c",
    "/%E6%B3%A8%E6%96%87/%41",
    "/x?next=/webhooks/stripe",
    "/x?a=%00%zz&b=//..\\",
    "/posts/1;v=2.json",
    "/Posts/%7Euser/",
    "/search?q=%C5%BF+%25",
    "/index.php/posts/1",
    "/stripe/webhooks",
    "/?",
    "/?/posts/1",
    "/search?q=webhooks/stripe",
];

#[tokio::test]
async fn every_other_spelling_of_a_webhook_path_gets_400_for_every_method() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for target in AMBIGUOUS {
        for method in ["POST", "GET"] {
            let signed = Event::checkout().signed().target(target).method(method);
            let response = program.send(&signed).await.case(format!("{method} {target}"));
            response.expect_error(400, "ambiguous_path");
        }
    }
    let upgrade =
        Request::get("/Webhooks/stripe").header("Connection", "Upgrade").header("Upgrade", "websocket");
    program.send(&upgrade).await.expect_error(400, "ambiguous_path");
    assert_eq!(backend.targets(), Vec::<String>::new());

    let metrics = program.metrics().await;
    let counts = metrics.lines().filter(|line| line.starts_with("countersign_guard_rejections_total{"));
    let sum: f64 = counts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert_eq!(sum, 2.0 * AMBIGUOUS.len() as f64 + 1.0);
}

#[tokio::test]
async fn raw_bytes_that_spell_a_webhook_path_never_reach_the_backend() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    for path in [
        &b"/webhooks/\xc5\xbftripe"[..],
        b"/webhooks/\xef\xbd\x93tripe",
        b"/webhooks/stripe\xc0\x80",
        b"/webhooks\xc0\xafstripe",
        b"\\webhooks\\stripe",
        b"webhooks/stripe",
        // Python's http.server splits the request line at any of these.
        b"\x0b/webhooks/stripe",
        b"\x0c/webhooks/stripe",
        b"\x1c/webhooks/stripe",
        b"\x85/webhooks/stripe",
        b"\xa0/webhooks/stripe",
        b"/webhooks/stripe\x0b",
        b"/webhooks/stripe\x1f",
        b"/webhooks/stripe\x85",
        b"/webhooks/stripe\xa0",
    ] {
        let mut client = program.connect().await;
        client.write([b"POST ", path, b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"].concat()).await;
        let response = client.response().await;
        assert_eq!((response.status, backend.count()), (400, 0), "{}", String::from_utf8_lossy(path));
    }
}

#[tokio::test]
async fn other_paths_pass_byte_for_byte() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let mut client: Client = program.connect().await;
    for target in ORDINARY {
        let response = client.send(&Request::post(target, "x")).await;
        assert_eq!((response.status, response.outcome()), (200, ""), "{target}");
    }
    let expected: Vec<String> = ORDINARY.iter().map(|target| format!("POST {target}")).collect();
    assert_eq!(backend.targets(), expected);
}

#[tokio::test]
async fn every_configured_path_is_guarded_and_may_lie_below_another() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .webhook("/hooks", &["{$STRIPE_WEBHOOK_SECRET}"])
        .webhook("/hooks/Connect.json", &["{$STRIPE_WEBHOOK_SECRET}"]);
    let program = Program::start(setup).await;
    for path in ["/webhooks/stripe", "/hooks", "/hooks/Connect.json"] {
        program.send(&Event::checkout().signed().target(path)).await.expect_delivered(200);
    }
    for path in [
        "/hooks/x",
        "/Hooks",
        "/hooks.json",
        "/hooks/connect.json",
        "/hooks/Connect.json/x",
        "/hooks/Connect",
    ] {
        program.send(&Event::checkout().signed().target(path)).await.expect_error(400, "ambiguous_path");
    }
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn headers_that_choose_a_path_or_use_our_names_are_stripped_on_every_route() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let removed = [
        "X-Original-URL",
        "x-original-url",
        "X-Rewrite-URL",
        "X-REWRITE-URL",
        "SCRIPT_NAME",
        "Script-Name",
        "Path_Info",
        "Daphne-Root-Path",
        "X-Script-Name",
        "X-Forwarded-Script-Name",
        "Countersign-Event",
        "countersign-verdict",
        "COUNTERSIGN-ANYTHING",
        "Countersign_Event",
        "countersign_delivery",
        "Countersign-",
    ];
    let kept = ["Countersig", "Countersigned", "X-Countersign-Event", "X-Custom_Name", "X-Original-Host"];
    for target in ["/posts/1", "/api/x?y=1", "/webhooks/stripe"] {
        let mut request = Event::checkout().signed().target(target);
        for name in removed.iter().chain(&kept) {
            request = request.header(name, "/webhooks/stripe-forged");
        }
        assert_eq!(program.send(&request).await.status, 200);
        let got = backend.requests().pop().unwrap();
        let forged: Vec<_> = got.headers.0.iter().filter(|(_, value)| value.ends_with("-forged")).collect();
        let mut names: Vec<_> = forged.iter().map(|(name, _)| name.as_str()).collect();
        names.sort();
        assert_eq!(names, kept, "{target}");
    }
}

#[tokio::test]
async fn connection_header_cannot_remove_our_headers_from_a_delivery() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let named = "close, Stripe-Signature, Idempotency-Key, Countersign-Event, Content-Type";
    let event = Event::checkout();
    let request = event.signed().header("Connection", named);
    program.send(&request).await.expect_delivered(200);
    let got = backend.only();
    assert_eq!(got.header("idempotency-key"), Some(event.id.as_str()));
    assert_eq!(got.header("countersign-event"), Some(event.id.as_str()));
    assert_eq!(got.header("stripe-signature"), request.value("Stripe-Signature"));
    assert_eq!(got.header("content-type"), request.value("Content-Type"));
}
