//! The shortest path through everything: if this fails, read it first.

use crate::harness::{Backend, Client, Event, Gate, Pattern, Program, Reply, Request};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn genuine_event_reaches_the_backend_and_a_page_passes_through() {
    let backend = Backend::start().await;
    let program = Program::start(&backend).await;

    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.only().body.bytes, event.body());

    let page = program.send(&Request::get("/posts/1")).await;
    assert_eq!((page.status, page.text().as_str()), (200, r#"{"applied":true}"#));
    assert_eq!(backend.targets(), ["POST /webhooks/stripe", "GET /posts/1"]);
}

/// Connects the client double to the backend double without the program. The rest of the suite relies on both.
#[tokio::test]
async fn client_and_backend_doubles_understand_each_other() {
    let mut backend = Backend::start().await;
    let mut client = Client::connect(backend.address()).await;

    let sent = Request::post("/upload", Pattern::bytes(200_000)).chunked(70_001);
    let response = client.send(&sent).await;
    assert_eq!((response.status, response.text().as_str()), (200, r#"{"applied":true}"#));
    let received = backend.await_request(1).await;
    assert_eq!((received.body.length, received.body.patterned, received.whole), (200_000, true, true));
    assert_eq!(received.head, sent.head_bytes());

    let gate = Gate::new();
    backend.reply_at("/events", Reply::events().chunk("one").pause(&gate).chunk("two"));
    backend.reply_next(Reply::ok().interim(103, &[("Link", "</a>")]));
    client.write(Request::get("/events").bytes()).await;
    assert_eq!(client.response_head().await.header("content-type"), Some("text/event-stream"));
    assert_eq!(client.chunk().await.as_deref(), Some(&b"one"[..]));
    gate.let_one();
    assert_eq!(client.chunk().await.as_deref(), Some(&b"two"[..]));
    assert_eq!(client.chunk().await, None);
    let hinted = client.send(&Request::get("/")).await;
    assert_eq!((hinted.interim[0].0, hinted.interim[0].1.one("link")), (103, Some("</a>")));
    assert_eq!((backend.connections(), backend.open()), (1, 1));

    backend.reply_always(Reply::pattern(3_000_000));
    let big = client.send(&Request::get("/big")).await;
    assert_eq!((big.body.length, big.body.patterned), (3_000_000, true));
    let none = client.send(&Request::new("HEAD", "/big")).await;
    assert_eq!((none.header("content-length"), none.body.length), (Some("3000000"), 0));
    backend.reply_always(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").then_close());
    client.write(Request::get("/half").bytes()).await;
    assert!(client.try_response().await.is_err());

    let mut socket = Client::connect(backend.address()).await.web_socket("/ws").await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));

    let address = backend.address().clone();
    backend.stop().await;
    assert_eq!(backend.open(), 0);
    backend.restart().await;
    assert_eq!(*backend.address(), address);
    backend.reply_always(Reply::close());
    let mut again = Client::connect(&address).await;
    again.write(Request::get("/").bytes()).await;
    again.closed().await;
}
