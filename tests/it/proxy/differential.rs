//! Thousands of mutated heads, given to the program and to pingora's own reader: whatever the two make of a head, the client
//! gets the backend's response or a refusal of Countersign's.

use crate::harness::{Backend, Program, RawStream, Reply, Setup};
use futures_util::{StreamExt, stream};
use pingora::protocols::http::ServerSession;
use tokio::io::AsyncWriteExt;

const HEADS: usize = 3_000;
/// How many heads are on their way at once.
const AT_ONCE: usize = 32;
/// How often a head is sent at most: on a busy machine its bytes may come after `header_timeout`.
const TRIES: usize = 5;

/// What the mutations start from.
const SEEDS: [&str; 4] = [
    "GET /posts/1?q=x HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    "POST /api/x HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nCookie: a=b; c=d\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nHost: shop.example\r\nContent-Length: 0\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
    "GET http://shop.example/abs HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n",
];

/// What is put into a head: bytes and lines on which parsers differ.
const PIECES: [&str; 34] = [
    " ",
    "  ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\u{7f}",
    "\u{e9}",
    "\"",
    "<",
    ">",
    "#",
    "@",
    ":",
    "%",
    "\\",
    "{",
    "?",
    "//",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "\r\nHost: b",
    "\r\nHost:",
    "\r\nContent-Length: 0",
    "\r\nContent-Length: 00",
    "\r\nContent-Length: +0",
    "\r\nTransfer-Encoding: identity",
    "\r\nX : y",
    "\r\n folded",
    "\r\nno colon",
    "\r\nConnection: Host, \"x\"",
    "\r\nUpgrade: h2c",
];

/// A small generator of numbers: the same heads in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }
}

fn mutated(random: &mut Random) -> Vec<u8> {
    let latin1 = |text: &str| text.chars().map(|letter| letter as u8).collect::<Vec<_>>();
    let mut head = latin1(SEEDS[random.below(SEEDS.len())]);
    for _ in 0..1 + random.below(3) {
        let at = random.below(head.len());
        match random.below(4) {
            0 => drop(head.remove(at)),
            1 => head[at] = random.below(256) as u8,
            _ => drop(head.splice(at..at, latin1(PIECES[random.below(PIECES.len())]))),
        }
    }
    head
}

/// Returns whether pingora's reader takes the head.
async fn pingora_takes(head: &[u8]) -> bool {
    let (mut client, server) = tokio::io::duplex(4096);
    client.write_all(head).await.unwrap();
    client.shutdown().await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(server));
    matches!(session.read_request().await, Ok(true))
}

#[tokio::test]
async fn mutated_heads_get_the_backends_response_or_a_refusal_of_ours() {
    let backend = Backend::start().await;
    backend.reply_always(Reply::ok().header("X-From", "the backend"));
    let program = Program::start(Setup::new(&backend).set("server.header_timeout", "5s")).await;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let heads: Vec<_> = (0..HEADS).map(|_| mutated(&mut random)).collect();
    let program = &program;
    let outcomes = stream::iter(&heads).map(|head| async move {
        let mut answer = String::new();
        for _ in 0..TRIES {
            let mut client = RawStream::connect(program).await;
            // The rest is the end of a chunked body. After another head it is no request.
            client.write([&head[..], b"0\r\n\r\n"].concat()).await;
            answer = client.first_head().await;
            if !answer.is_empty() {
                break;
            }
        }
        let (text, sent) = (answer.to_lowercase(), head.escape_ascii());
        let passed = text.contains("\r\nx-from: the backend\r\n");
        assert!(text.starts_with("http/1.1 ") && !text.contains("pingora"), "{sent}: {answer}");
        assert!(passed || text.contains("\r\ncountersign-outcome: "), "{sent}: {answer}");
        (passed, pingora_takes(head).await)
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(AT_ONCE).collect().await;
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let (both, only_we, only_pingora) = (count((true, true)), count((true, false)), count((false, true)));
    println!("{HEADS} heads: {both} taken by both, {only_we} only by us, {only_pingora} only by pingora");
    assert!(both > HEADS / 10 && only_we > 0 && only_pingora > 0, "{both}, {only_we}, {only_pingora}");
}
