//! Webhooks that a query tells apart from the pages of a whole site: the exact spelling reaches verification, every other
//! spelling of the query or of a form gets 400, and pages pass byte for byte.

use crate::harness::{Backend, Event, Program, Request, Setup};
use toml::Value;

const QUERY: &str = "callback=gravityformsstripe";
const URLENCODED: &str = "application/x-www-form-urlencoded";

fn setup(backend: &Backend) -> Setup {
    Setup::new(backend).set("webhook.path", "/").set("webhook.query", QUERY).set("webhook.name", "forms")
}

fn form(content_type: &str, body: &str) -> Request {
    Request::post("/", body).header("Content-Type", content_type)
}

#[tokio::test]
async fn the_exact_pairs_reach_verification_beside_any_other_pair() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let targets = [
        "/?callback=gravityformsstripe",
        "/?p=1&callback=gravityformsstripe&q",
        "/?callback=gravityformsstripe&x=%00",
    ];
    for target in targets {
        program.send(&Event::checkout().signed().target(target)).await.expect_delivered(200);
        let forged = Event::checkout().unsigned().target(target);
        program.send(&forged).await.expect_error(400, "signature_missing");
        program.send(&Request::get(target)).await.expect_error(405, "method_not_allowed");
    }
    let absolute = Event::checkout().signed().target("http://shop.example/?callback=gravityformsstripe");
    program.send(&absolute).await.expect_delivered(200);
    let seen = backend.targets();
    assert_eq!(seen[..3], targets.map(|target| format!("POST {target}")));
}

#[tokio::test]
async fn every_other_spelling_of_the_query_gets_400_on_every_path() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let queries = [
        "call%62ack=gravityformsstripe",
        "callback=gravityforms%73tripe",
        "callback=gravityforms%2573tripe",
        "Callback=GravityFormsStripe",
        "callback[]=gravityformsstripe",
        "callback%5B%5D=gravityformsstripe",
        "callback[0]=gravityformsstripe",
        "+callback=gravityformsstripe",
        "callback=+gravityformsstripe",
        "callback=gravityformsstripe%00",
        "callback%00x=gravityformsstripe",
        "callback=x&callback=gravityformsstripe",
        "callback=gravityformsstripe&callback=x",
        "callback=gravityformsstripe&Callback[]=x",
        "x=1;callback=gravityformsstripe",
        "callback=gravityforms!stripe",
        "callback==gravityformsstripe",
    ];
    for query in queries {
        for path in ["/", "/shop", "/index.php", "/wp-admin/admin-ajax.php"] {
            let signed = Event::checkout().signed().target(&format!("{path}?{query}"));
            program.send(&signed).await.case(query).expect_error(400, "ambiguous_path");
        }
    }
    for target in ["/shop/?callback=gravityformsstripe", "//?callback=gravityformsstripe"] {
        program.send(&Event::checkout().signed().target(target)).await.expect_error(400, "ambiguous_path");
    }
    assert_eq!(backend.count(), 0);
    let counted = program.metric(r#"guard_rejections_total{reason="query"}"#).await;
    assert_eq!(counted, queries.len() as f64 * 4.0 + 2.0);
}

#[tokio::test]
async fn pages_with_other_queries_and_forms_pass_byte_for_byte() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let targets = [
        "/",
        "/?",
        "/?p=1",
        "/?callback=other",
        "/?callback",
        "/?callback=gravityformsstripes",
        "/?back=gravityformsstripe",
        "/?redirect=%2F%3Fcallback%3Dgravityformsstripe",
        "/shop?callback[]=other&x=%zz",
        "/index.php?a=b;c=d",
    ];
    for target in targets {
        assert_eq!(program.send(&Request::post(target, "x")).await.status, 200, "{target}");
    }
    assert_eq!(backend.targets(), targets.map(|target| format!("POST {target}")));

    let long = format!("callback=other&text={}&n=1", "gravityformsstripe&%41".repeat(20_000));
    let multipart = "--B\r\nContent-Disposition: form-data; name=\"callback\"\r\n\r\nother\r\n--B\r\n\
        Content-Disposition: form-data; name=\"text\"\r\n\r\ngravityformsstripe\r\n--B--\r\n";
    let json = r#"{"callback": "gravityformsstripe"}"#;
    for (content_type, body) in [
        (URLENCODED, "callback=other&x=gravityformsstripe"),
        (URLENCODED, &long),
        (URLENCODED, json),
        ("multipart/form-data; boundary=B", multipart),
        ("application/json", json),
        ("text/plain", "callback=gravityformsstripe"),
    ] {
        let before = backend.count();
        for request in [form(content_type, body), form(content_type, body).chunked(1000)] {
            assert_eq!(program.send(&request).await.status, 200, "{content_type}");
        }
        for got in &backend.requests()[before..] {
            assert_eq!(got.body.bytes, body.as_bytes(), "{content_type}");
        }
    }
}

/// Forms that some parser reads as the webhook's pairs.
fn forms() -> Vec<(&'static str, String)> {
    let part = |head: &str, value: &str| format!("--B\r\n{head}\r\n\r\n{value}\r\n--B--\r\n");
    let multipart = "multipart/form-data; boundary=B";
    let disposition = "Content-Disposition: form-data; name=";
    vec![
        (URLENCODED, QUERY.to_owned()),
        (URLENCODED, "a=b&call%62ack=Gravityforms+stripe&c=d".to_owned()),
        (URLENCODED, "callback[]=gravityformsstripe".to_owned()),
        (URLENCODED, "a=1;callback=gravityformsstripe".to_owned()),
        ("Application/X-WWW-Form-Urlencoded; charset=utf-8", QUERY.to_owned()),
        (URLENCODED, format!("{}callback=gravityformsstripe", "+".repeat(200_000))),
        (URLENCODED, format!("{}callback=gravityformsstripe", "%20".repeat(100_000))),
        (URLENCODED, format!("callback[{}]=gravityformsstripe", "x".repeat(200_000))),
        (URLENCODED, format!("callback=gravityforms{}stripe", "%00".repeat(100_000))),
        (URLENCODED, format!("x={}&callback=gravityformsstripe", "y".repeat(200_000))),
        (multipart, part(&format!("{disposition}\"callback\""), "gravityformsstripe")),
        (multipart, part(&format!("{disposition}callback"), "Gravityformsstripe")),
        (multipart, part(&format!("{disposition}'callback'; x=y"), "gravityformsstripe")),
        (multipart, part("content-disposition:form-data;\r\n NAME = \"callback[]\"", "gravityformsstripe")),
        (multipart, part("Content-Disposition: form-data; name*=utf-8''call%62ack", "gravityformsstripe")),
        (multipart, part("Content-Disposition: form-data; name*0=call; name*1=back", "gravityformsstripe")),
        (
            multipart,
            part(
                &format!("{disposition}\"callback\"\r\nContent-Transfer-Encoding: base64"),
                "Z3Jhdml0eWZvcm1zc3RyaXBl",
            ),
        ),
        (multipart, part(&format!("{disposition}\"callback\""), "gravityformsstripe").replace("\r\n", "\n")),
        ("multipart/form-data", part(&format!("{disposition}\"callback\""), "gravityformsstripe")),
    ]
}

#[tokio::test]
async fn form_that_tells_the_webhook_gets_400_and_its_last_byte_never_leaves() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let mut rejected = 0.0;
    for (content_type, body) in forms() {
        for method in ["POST", "PUT"] {
            let request = form(content_type, &body).method(method);
            for request in [request.clone(), request.chunked(7919)] {
                let name = format!("{method} {content_type} {}", &body[..body.len().min(60)]);
                program.send(&request).await.case(name).expect_error(400, "ambiguous_path");
                rejected += 1.0;
            }
        }
    }
    assert!(backend.requests().iter().all(|got| !got.whole));
    let counted = program.metric(r#"guard_rejections_total{reason="form"}"#).await;
    assert_eq!(counted, rejected);
}

#[tokio::test]
async fn empty_content_type_does_not_avoid_the_check() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let multipart = "multipart/form-data; boundary=B";
    for types in
        [&[][..], &[""], &[" "], &["application/json", ""], &["", multipart], &[multipart, URLENCODED]]
    {
        let request =
            types.iter().fold(Request::post("/", QUERY), |r, value| r.header("Content-Type", value));
        program.send(&request).await.case(format!("{types:?}")).expect_error(400, "ambiguous_path");
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn form_that_arrives_byte_by_byte_is_cut_before_its_last_byte() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let body = format!("x={}&{QUERY}", "y".repeat(20_000));
    let mut client = program.connect().await;
    let length = body.len();
    client
        .write(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {URLENCODED}\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    client.write(&body[..length - 1]).await;
    backend.await_head(1).await;
    client.write(&body[length - 1..]).await;
    client.response().await.expect_error(400, "ambiguous_path");
    assert!(!backend.await_request(1).await.whole);
}

/// Returns the beginnings of forms whose last field reads as the webhook's so far.
fn cut_forms() -> [(&'static str, String); 3] {
    let multipart = "--B\r\nContent-Disposition: form-data; name=\"callback\"\r\n\r\n";
    [
        (URLENCODED, QUERY.to_owned()),
        (URLENCODED, format!("{QUERY};a=b")),
        ("multipart/form-data; boundary=B", format!("{multipart}gravityformsstripe")),
    ]
}

/// Returns the head of a long form, and a first field.
fn long_form(content_type: &str) -> String {
    let first = match content_type {
        URLENCODED => format!("x={}&", "y".repeat(99_000)),
        _ => format!("--B\r\nContent-Disposition: form-data; name=x\r\n\r\n{}\r\n", "y".repeat(99_000)),
    };
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nContent-Type: ";
    format!("{head}{content_type}\r\n\r\n{first}")
}

#[tokio::test]
async fn field_that_the_client_cuts_off_never_leaves_as_the_webhooks() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    for (index, (content_type, cut)) in cut_forms().into_iter().enumerate() {
        let mut client = program.connect().await;
        client.write(long_form(content_type)).await;
        backend.await_head(index + 1).await;
        client.write(&cut).await;
        drop(client);
        let got = backend.await_request(index + 1).await;
        assert!(!got.whole, "{cut}");
        assert!(!String::from_utf8_lossy(&got.body.bytes).contains("gravityformsstripe"), "{cut}");
    }
}

#[tokio::test]
async fn field_that_becomes_another_one_arrives_byte_for_byte() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    for (index, (content_type, cut)) in cut_forms().into_iter().enumerate().filter(|(index, _)| *index != 1) {
        let mut client = program.connect().await;
        let begun = long_form(content_type);
        client.write(&begun).await;
        backend.await_head(index / 2 + 1).await;
        client.write(&cut).await;
        let length = begun.split_once("\r\n\r\n").unwrap().1.len() + cut.len();
        client.write("z".repeat(100_000 - length)).await;
        assert_eq!(client.response().await.status, 200, "{cut}");
        let got = backend.await_request(index / 2 + 1).await;
        let sent = format!("{begun}{cut}{}", "z".repeat(100_000 - length));
        assert!(
            got.whole && sent.as_bytes().ends_with(&got.body.bytes) && got.body.length == 100_000,
            "{cut}"
        );
    }
}

#[tokio::test]
async fn pairs_that_are_split_between_query_and_form_are_rejected() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.path", "/index.php")
        .set("webhook.query", "option=com_shop&task=stripe.webhook")
        .set("webhook.preset", "joomla");
    let program = Program::start(setup).await;
    for (target, body) in [
        ("/index.php?option=com_shop", "task=stripe.webhook"),
        ("/index.php?task=stripe.webhook", "option=com_shop"),
        ("/component/shop", "task=stripe.webhook"),
    ] {
        let request = Request::post(target, body).header("Content-Type", URLENCODED);
        program.send(&request).await.case(target).expect_error(400, "ambiguous_path");
    }
    // A menu item of Joomla gives the option to a path, to an `Itemid` or to the home page.
    for target in [
        "/component/shop?task=stripe.webhook",
        "/de/Component/com_shop/x?task=stripe_webhook",
        "/our-shop?task=stripe.webhook",
        "/index.php?Itemid=5&task=stripe.webhook",
        "/?task=stripe.webhook",
        "/index.php?option=com_shop&controller=stripe&task=webhook",
        "/index.php?option=com_shop&task[stripe.webhook]=1",
        "/index.php?option=com_shop&task=stripe.webhook.x",
    ] {
        program
            .send(&Event::checkout().signed().target(target))
            .await
            .case(target)
            .expect_error(400, "ambiguous_path");
    }
    let other = Request::post("/index.php?option=com_shop", "task=list").header("Content-Type", URLENCODED);
    assert_eq!(program.send(&other).await.status, 200);
    let exact = "/index.php?lang=de&task=stripe.webhook&option=com_shop";
    program.send(&Event::checkout().signed().target(exact)).await.expect_delivered(200);
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn form_that_cannot_be_judged_gets_415() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let coded = form(URLENCODED, "x").header("Content-Encoding", "gzip");
    program.send(&coded).await.expect_error(415, "body_encoded");
    for charset in ["utf-16le", "IBM037", "UTF-7"] {
        let request = form(&format!("{URLENCODED}; charset={charset}"), "x");
        program.send(&request).await.expect_error(415, "body_encoded");
    }
    let json = form("application/json", "x").header("Content-Encoding", "gzip");
    assert_eq!(program.send(&json).await.status, 200);
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn dry_run_counts_such_a_form_and_forwards_it() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend).set("webhook.enforce", false)).await;
    let long = format!("x={}&{QUERY}", "y".repeat(100_000));
    for body in [QUERY, &long] {
        assert_eq!(program.send(&form(URLENCODED, body)).await.status, 200);
    }
    assert_eq!(
        backend.requests().iter().map(|got| got.body.bytes.len()).collect::<Vec<_>>(),
        [QUERY.len(), long.len()]
    );
    assert_eq!(program.metric(r#"guard_rejections_total{reason="form"}"#).await, 2.0);
}

#[tokio::test]
async fn dry_run_does_not_switch_off_the_check_of_forms_for_an_enforced_endpoint() {
    let backend = Backend::start().await;
    let secrets = ["{$STRIPE_WEBHOOK_SECRET}"];
    let setup = setup(&backend)
        .set("webhook.enforce", false)
        .webhook("/stripe/test", &secrets)
        .set("webhook.1.enforce", false)
        .webhook("/", &secrets)
        .set("webhook.2.query", "wc-api=wc_stripe")
        .set("webhook.2.name", "shop");
    let program = Program::start(setup).await;
    let (dry, enforced) = (QUERY, "wc-api=wc_stripe");
    let padding = "y".repeat(100_000);
    let both =
        [format!("{dry}&{enforced}"), format!("{enforced}&{dry}"), format!("{dry}&x={padding}&{enforced}")];
    for body in &both {
        for request in [form(URLENCODED, body), form(URLENCODED, body).chunked(7919)] {
            program.send(&request).await.case(&body[..40]).expect_error(400, "ambiguous_path");
        }
    }
    assert_eq!(program.metric(r#"guard_rejections_total{reason="form"}"#).await, 6.0);
    for (method, target) in [("POST", "/stripe/test"), ("PUT", "/stripe/test"), ("POST", "/stripe/test.json")]
    {
        for body in [enforced.to_owned(), format!("x={padding}&{enforced}")] {
            let typed = form(URLENCODED, &body).method(method).target(target);
            for request in [typed.clone(), typed.clone().chunked(7919), typed.without("Content-Type")] {
                let name = format!("{method} {target}");
                program.send(&request).await.case(name).expect_error(400, "ambiguous_path");
            }
        }
        let coded = form(URLENCODED, "x").method(method).target(target).header("Content-Encoding", "gzip");
        program.send(&coded).await.case(target).expect_error(415, "body_encoded");
    }
    assert!(backend.requests().iter().all(|got| !got.whole));
    let counted = r#"webhook_requests_total{endpoint="/stripe/test",outcome="ambiguous_path"}"#;
    assert_eq!(program.metric(counted).await, 6.0);
    let before = backend.count();
    for target in ["/stripe/test", "/stripe/test.json", "/"] {
        assert_eq!(program.send(&form(URLENCODED, dry).target(target)).await.status, 200, "{target}");
    }
    assert_eq!(backend.count(), before + 3);
}

#[tokio::test]
async fn dry_run_forwards_no_target_that_an_enforced_endpoint_is_taken_for() {
    let backend = Backend::start().await;
    let secrets = ["{$STRIPE_WEBHOOK_SECRET}"];
    let setup = Setup::new(&backend)
        .set("webhook.path", "/stripe/test")
        .set("webhook.enforce", false)
        .webhook("/", &secrets)
        .set("webhook.1.preset", "woocommerce")
        .set("webhook.1.name", "shop")
        .webhook("/hooks/main", &secrets)
        .set("webhook.2.enforce", false)
        .webhook("/hooks", &secrets)
        .webhook("/", &secrets)
        .set("webhook.4.query", QUERY)
        .set("webhook.4.name", "forms")
        .set("webhook.4.enforce", false);
    let program = Program::start(setup).await;
    for target in [
        "/stripe/test.json?wc-api=wc_stripe",
        "/stripe/test?wc-api=wc_stripe",
        "/stripe/test?wc_api=WC_Stripe",
        "/stripe/test/wc-api/wc_stripe/",
        "/x/wc-api/wc_stripe/?callback[]=gravityformsstripe",
        "/?callback=gravityformsstripe&wc-api=wc_stripe",
        "/?callback[]=gravityformsstripe&wc-api=wc_stripe",
        "/hooks/Main",
    ] {
        for request in [Event::checkout().unsigned(), Event::checkout().signed()] {
            program.send(&request.target(target)).await.case(target).expect_error(400, "ambiguous_path");
        }
    }
    // The path of the dry run lies beneath that of an enforced endpoint, which may be meant.
    let unsigned = Event::checkout().unsigned().target("/hooks/main");
    program.send(&unsigned).await.expect_error(400, "signature_missing");
    program.send(&unsigned.method("PUT")).await.expect_error(405, "method_not_allowed");
    assert_eq!(backend.count(), 0);
    program.send(&Event::checkout().signed().target("/hooks/main")).await.expect_delivered(200);
    let forwarded = ["/stripe/test", "/stripe/test.json?x=y", "/stripe/test?callback[]=gravityformsstripe"];
    for target in forwarded {
        assert_eq!(program.send(&Event::checkout().unsigned().target(target)).await.status, 200, "{target}");
    }
    assert_eq!(backend.targets()[1..], forwarded.map(|target| format!("POST {target}")));
}

#[tokio::test]
async fn connection_is_pooled_after_a_form_and_not_after_a_cut_one() {
    let backend = Backend::start().await;
    let program = Program::start(setup(&backend)).await;
    let long = |last: &str| form(URLENCODED, &format!("x={}&{last}", "y".repeat(100_000)));
    assert_eq!(program.send(&long("a=b")).await.status, 200);
    program.send(&long(QUERY)).await.expect_error(400, "ambiguous_path");
    assert_eq!(program.send(&long("a=c")).await.status, 200);
    let whole: Vec<bool> = backend.requests().iter().map(|got| got.whole).collect();
    let connections: Vec<usize> = backend.requests().iter().map(|got| got.connection).collect();
    assert_eq!((whole, connections), (vec![true, false, true], vec![1, 1, 2]));
}

#[tokio::test]
async fn woocommerce_is_guarded_on_its_rewrite_endpoint_and_through_sanitize_key() {
    let backend = Backend::start().await;
    let setup = Setup::new(&backend)
        .set("webhook.preset", "woocommerce")
        .set("webhook.path", Value::Array(vec!["/".into()]))
        .set("webhook.name", "woo");
    let program = Program::start(setup).await;
    program.send(&Event::checkout().signed().target("/?wc-api=wc_stripe")).await.expect_delivered(200);
    for target in [
        "/?wc-api=wc_str!ipe",
        "/?wc-api=WC_Stripe",
        "/?wc_api=wc_stripe",
        "/any/wc-api/wc_stripe/",
        "/wc-api/wc_stripe",
        "/WC-API/WC_Stripe",
        "/index.php/wc-api/wc_stripe/",
        "/x/wc%2Dapi/wc_str%69pe",
        "/wc-api/./wc_stripe",
    ] {
        program
            .send(&Event::checkout().signed().target(target))
            .await
            .case(target)
            .expect_error(400, "ambiguous_path");
    }
    for target in ["/wc-api/v3/orders", "/?wc-api=paypal", "/shop/wc_stripe", "/wc-api/"] {
        assert_eq!(program.send(&Request::get(target)).await.status, 200, "{target}");
    }
}
