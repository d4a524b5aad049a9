//! The way in: who calls, what the script wants, what the idempotency key means; then the endpoint. What an endpoint does
//! is not its concern.

use super::errors::Error;
use super::fault::{End, Fault, Wait};
use super::form::Tree;
use super::keys::Verdict;
use super::state::{Stripe, lock};
use super::wire::{Call, Outcome, Reply};
use super::{events, objects, pay, sessions};
use std::sync::Arc;

/// The version that a call speaks which names none.
pub const VERSION: &str = "2026-10-28.endive";

/// Who calls, and how.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whether the key is a live one.
    pub livemode: bool,
    /// `Stripe-Account`.
    pub account: Option<String>,
    /// `Stripe-Version`.
    pub version: String,
    /// The id of this request.
    pub request: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
}

/// Answers a call, or does what the script says instead.
pub async fn enter(stripe: &Arc<Stripe>, call: Call, fault: Option<Fault>) -> Outcome {
    stripe.record(&call);
    if !call.path().starts_with("/v1/") {
        return Outcome::Reply(pay::serve(stripe, &call).await);
    }
    let request = stripe.ids.next("req_");
    let caller = match authenticate(&call, request.clone()) {
        Ok(caller) => caller,
        Err(error) => {
            stripe.put_back(fault.unwrap_or(Fault::NONE));
            return Outcome::Reply(Reply::from(error).header("Request-Id", &request));
        }
    };
    let outcome = attend(stripe, &call, &caller, fault.unwrap_or(Fault::NONE)).await;
    match outcome {
        Outcome::Reply(reply) => Outcome::Reply(dress(reply, &caller)),
        Outcome::Half(reply) => Outcome::Half(dress(reply, &caller)),
        Outcome::HangUp => Outcome::HangUp,
    }
}

/// Whose key it is: `Authorization: Bearer sk_…`, or Basic with the key as the user.
fn authenticate(call: &Call, request: String) -> Result<Caller, Error> {
    let given = call.header("authorization").unwrap_or_default();
    let key = match given.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().to_owned(),
        Some((scheme, user)) if scheme.eq_ignore_ascii_case("basic") => {
            let user = String::from_utf8_lossy(&from_base64(user.trim())).into_owned();
            user.split(':').next().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    let refused = |message: &str| {
        Err(Error::new(401, "invalid_request_error", "", message)
            .header("WWW-Authenticate", "Basic realm=\"Stripe\""))
    };
    if key.is_empty() {
        return refused("You did not provide an API key.");
    }
    let known = ["sk_test_", "sk_live_", "rk_test_", "rk_live_"].iter().any(|prefix| {
        key.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    });
    if !known {
        let end: String = key.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
        return refused(&format!("Invalid API Key provided: ****{end}"));
    }
    Ok(Caller {
        livemode: key.contains("_live_"),
        account: call.header("stripe-account").map(str::to_owned),
        version: call.header("stripe-version").unwrap_or(VERSION).to_owned(),
        request,
        key: call.header("idempotency-key").map(str::to_owned),
    })
}

async fn attend(stripe: &Arc<Stripe>, call: &Call, caller: &Caller, fault: Fault) -> Outcome {
    // The key is taken as the call comes in; whatever is answered comes after the wait.
    let claimed = claim(stripe, call, caller);
    let Fault { wait, end } = fault;
    match wait {
        Wait::No => {}
        Wait::For(time) => tokio::time::sleep(time).await,
        // Dropped is released.
        Wait::Until(released) => drop(released.await),
    }
    let (key, known) = match claimed {
        Ok(claimed) => claimed,
        Err(error) => {
            stripe.put_back(Fault { wait: Wait::No, end });
            return Outcome::Reply(error.into());
        }
    };
    let done = async || match &known {
        Some(reply) => reply.clone(),
        None => {
            let worked = work(stripe, call, caller).await;
            let kept = worked.is_ok();
            settle(stripe, key.as_deref(), worked.unwrap_or_else(Reply::from), kept)
        }
    };
    match end {
        End::Work => Outcome::Reply(done().await),
        End::Cut => Outcome::Half(done().await),
        End::DropDone => {
            done().await;
            Outcome::HangUp
        }
        End::Say { reply, kept } => Outcome::Reply(match known {
            Some(known) => {
                stripe.put_back(Fault::say(reply, kept));
                known
            }
            None => settle(stripe, key.as_deref(), reply, kept),
        }),
        End::DropUnread | End::DropRead => {
            if let (Some(key), None) = (key, known) {
                lock(&stripe.keys).free(&key);
            }
            Outcome::HangUp
        }
    }
}

/// The call's idempotency key, if it has one that counts, and the answer that the key already decides.
fn claim(stripe: &Stripe, call: &Call, caller: &Caller) -> Result<(Option<String>, Option<Reply>), Error> {
    // Only a POST changes anything; Stripe ignores the key of every other call.
    let Some(key) = caller.key.as_ref().filter(|_| call.method == "POST") else { return Ok((None, None)) };
    if key.len() > 255 {
        return Err(Error::new(
            400,
            "idempotency_error",
            "",
            "An idempotency key has at most 255 characters.",
        ));
    }
    let key = format!("{:?} {} {key}", caller.account, caller.livemode);
    let mut params = call.params();
    params.sort();
    let with = format!("{} {} {params:?}", call.method, call.target);
    match lock(&stripe.keys).claim(&key, &with, stripe.now()) {
        Verdict::New => Ok((Some(key), None)),
        Verdict::Replay(reply) => Ok((Some(key), Some(reply.header("Idempotent-Replayed", "true")))),
        Verdict::InUse => Err(Error::known("idempotency_key_in_use")),
        Verdict::Mismatch => Err(Error::known("idempotency_params_mismatch")),
    }
}

/// Keeps a new answer under its key, or lets the key go, and hands the answer back.
fn settle(stripe: &Stripe, key: Option<&str>, reply: Reply, kept: bool) -> Reply {
    if let Some(key) = key {
        let mut keys = lock(&stripe.keys);
        if kept { keys.keep(key, &reply) } else { keys.free(key) }
    }
    reply
}

/// What the endpoint answers. An error is one that came before any work, and is not kept.
async fn work(stripe: &Arc<Stripe>, call: &Call, caller: &Caller) -> Result<Reply, Error> {
    let params = Tree::parse(if call.method == "GET" { call.query() } else { &call.body })?;
    let segments: Vec<&str> = call.path().split('/').skip(2).collect();
    let object = match (call.method.as_str(), segments.as_slice()) {
        ("POST", ["checkout", "sessions"]) => sessions::create(stripe, caller, &params)?,
        ("GET", ["checkout", "sessions", id]) => sessions::retrieve(stripe, id, &params)?,
        ("GET", ["checkout", "sessions", id, "line_items"]) => sessions::line_items(stripe, id)?,
        ("POST", ["checkout", "sessions", id, "expire"]) => sessions::expire(stripe, id)?,
        ("GET", ["events"]) => events::list(stripe, &params)?,
        ("GET", ["events", id]) => events::retrieve(stripe, id)?,
        ("POST", ["stripecli", "sessions"]) => stripe.listeners.session(&stripe.address()),
        _ => objects::serve(stripe, caller, &call.method, &segments, &params).await?,
    };
    Ok(Reply::json(200, &object))
}

/// The headers of every answer.
fn dress(reply: Reply, caller: &Caller) -> Reply {
    let reply = reply.header("Request-Id", &caller.request).header("Stripe-Version", &caller.version);
    match &caller.key {
        Some(key) => reply.header("Idempotency-Key", key),
        None => reply,
    }
}

/// The bytes that a text in standard Base64 stands for; what is not Base64 is left out.
pub fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (vec![], 0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        // A digit is below 64.
        bits = (bits << 6 | u32::try_from(digit).unwrap_or_default()) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).unwrap_or_default());
        }
    }
    bytes
}
