//! How often an event reaches the backend: until its first 2xx, never twice at a time, never again.

use crate::harness::{Backend, Client, Event, Gate, Program, Reply, Setup, until};
use futures_util::future::join_all;

#[tokio::test]
async fn after_the_first_2xx_no_copy_reaches_the_backend() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    backend.reply_always(Reply::bare(204));
    program.send(&event.signed()).await.expect_delivered(204);
    for _ in 0..5 {
        program.send(&event.signed()).await.expect_received("duplicate");
    }
    assert_eq!(backend.count(), 1);
    assert_eq!((program.outcomes("delivered").await, program.outcomes("duplicate").await), (1.0, 5.0));
}

#[tokio::test]
async fn every_other_result_is_a_failure_and_the_next_copy_is_the_next_attempt() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("backend.response_timeout", "500ms")).await;
    let half = "HTTP/1.1 200 OK\r\nContent-";
    let table: [(&str, Reply, u16, &str); 11] = [
        ("300", Reply::status(300), 300, "delivered"),
        ("a redirect", Reply::redirect(302, "/webhooks/other"), 302, "delivered"),
        ("308", Reply::redirect(308, "/webhooks/other"), 308, "delivered"),
        ("400", Reply::status(400), 400, "delivered"),
        ("409", Reply::status(409), 409, "delivered"),
        ("500", Reply::status(500), 500, "delivered"),
        ("503", Reply::status(503), 503, "delivered"),
        ("closed without an answer", Reply::close(), 502, "backend_unreachable"),
        ("no HTTP", Reply::raw("SSH-2.0-OpenSSH_9\r\n\r\n").then_close(), 502, "backend_invalid"),
        ("half a head", Reply::raw(half).then_close(), 502, "backend_invalid"),
        ("silence", Reply::never(), 504, "backend_timeout"),
    ];
    for (name, response, status, outcome) in table {
        let event = Event::checkout();
        let before = backend.count();
        backend.reply_always(response);
        for attempt in 1..=2 {
            let got = program.send(&event.signed()).await.case(name);
            match outcome {
                "delivered" => got.expect_delivered(status),
                code => got.expect_error(status, code),
            };
            let seen = backend.await_request(before + attempt).await;
            assert_eq!(seen.header("countersign-attempt"), Some(attempt.to_string().as_str()), "{name}");
            assert_eq!(seen.target, "/webhooks/stripe", "{name}");
        }
        backend.reply_always(Reply::ok());
        program.send(&event.signed()).await.case(name).expect_delivered(200);
        program.send(&event.signed()).await.case(name).expect_received("duplicate");
        let last = backend.requests().pop().unwrap();
        assert_eq!(last.header("countersign-attempt"), Some("3"), "{name}");
        assert_eq!(backend.count(), before + 3, "{name}");
    }
}

#[tokio::test]
async fn unreachable_backend_gets_502_and_is_used_again_at_once() {
    let mut backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let event = Event::checkout();
    // A pooled connection to the backend exists when it stops.
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    backend.stop().await;
    for _ in 0..2 {
        program.send(&event.signed()).await.expect_error(502, "backend_unreachable");
    }
    backend.restart().await;
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.requests()[1].header("countersign-attempt"), Some("3"));

    // The backend was restarted between two requests, so the pooled connection is closed.
    backend.stop().await;
    backend.restart().await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
}

#[tokio::test]
async fn head_of_a_2xx_counts_as_delivered_even_if_its_body_never_ends() {
    let backend = Backend::start().await;
    let program = Program::start(Setup::new(&backend).set("backend.response_timeout", "500ms")).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf";
    for response in [Reply::raw(head).then_close(), Reply::raw(head).then_hang()] {
        backend.reply_always(response);
        let event = Event::checkout();
        let before = backend.count();
        program.send(&event.signed()).await.expect_delivered(200);
        program.send(&event.signed()).await.expect_received("duplicate");
        assert_eq!(backend.count(), before + 1);
    }
}

#[tokio::test]
async fn one_of_sixteen_simultaneous_copies_reaches_the_backend() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let (event, gate) = (Event::checkout(), Gate::new());
    backend.reply_always(Reply::ok().when(&gate));

    let copies = (0..16).map(|_| async {
        let mut client = program.connect().await;
        client.write(event.signed().bytes()).await;
        client.response().await
    });
    let release = async {
        until("fifteen copies to be turned away", async || {
            (program.outcomes("in_flight").await == 15.0).then_some(())
        })
        .await;
        backend.await_request(1).await;
        assert_eq!(backend.count(), 1);
        gate.open();
    };
    let (responses, ()) = tokio::join!(join_all(copies), release);

    let (delivered, waiting): (Vec<_>, Vec<_>) = responses.iter().partition(|a| a.status == 200);
    assert_eq!((delivered.len(), waiting.len()), (1, 15));
    delivered[0].expect_delivered(200);
    for response in waiting {
        response.expect_error(409, "in_flight");
        let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
        // The lease is 2 s to connect, 30 s to respond and 5 s to spare.
        assert!((1..=37).contains(&seconds), "{seconds}");
    }
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn sender_that_disconnects_mid_delivery_does_not_cancel_it() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let (event, gate) = (Event::checkout(), Gate::new());
    backend.reply_always(Reply::ok().when(&gate));

    let mut client = program.connect().await;
    client.write(event.signed().bytes()).await;
    backend.await_request(1).await;
    drop(client);
    program.send(&event.signed()).await.expect_error(409, "in_flight");
    gate.open();

    let duplicate = until("the copy to be a duplicate", async || {
        let response = program.send(&event.signed()).await;
        (response.status != 409).then_some(response)
    });
    duplicate.await.expect_received("duplicate");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn many_simultaneous_events_are_each_delivered_once() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;
    let events: Vec<Event> = (0..200).map(|_| Event::checkout()).collect();
    let send = async |events: &[Event]| {
        let mut client: Client = program.connect().await;
        let mut seen = vec![];
        for event in events {
            seen.push(client.send(&event.signed()).await.outcome().to_owned());
        }
        seen
    };
    let seen = join_all(events.chunks(10).map(&send)).await.concat();
    assert!(seen.iter().all(|outcome| outcome == "delivered"), "{seen:?}");
    let again = join_all(events.chunks(10).map(&send)).await.concat();
    assert!(again.iter().all(|outcome| outcome == "duplicate"), "{again:?}");
    let mut ids: Vec<_> =
        backend.requests().iter().map(|r| r.header("idempotency-key").unwrap().to_owned()).collect();
    ids.sort();
    let mut expected: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    expected.sort();
    assert_eq!(ids, expected);
}
