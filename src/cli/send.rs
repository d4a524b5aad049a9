//! `send`: makes signed test events, posts them as Stripe does, and says what came back. It judges nothing but the
//! status: 2xx for genuine events, 4xx for those that were to be refused.

use super::samples::{Details, KINDS, Kind, letters};
use super::sign::payload;
use super::{Env, Failure, runtime, secrets};
use crate::clock;
use crate::stripe::signature::{self, Secret};
use crate::stripe_api::root;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use reqwest::{Client, Response, Url, header, redirect};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Longer than the program and the backend behind it may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How much of an answer's body is read, in bytes.
const BODY: usize = 64 * 1024;
/// How much of it is shown, in characters.
const EXCERPT: usize = 240;

/// Send signed test events, as Stripe would
///
/// Exits with 0 if every answer was 2xx; with --forge or --alter, if every one was 4xx.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to
    #[arg(default_value = "http://localhost:5000/webhooks/stripe", value_parser = web)]
    url: Url,
    /// The event's type [see --list]
    #[arg(long = "type", value_name = "TYPE", default_value = KINDS[0].name, hide_possible_values = true,
          value_parser = PossibleValuesParser::new(KINDS.map(|kind| kind.name)))]
    kind: String,
    /// A payload of your own, sent byte for byte; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "id", "livemode", "count"])]
    file: Option<PathBuf>,
    /// The event's id [default: a new one]
    #[arg(long, conflicts_with = "count")]
    id: Option<String>,
    /// A live event instead of a test one
    #[arg(long)]
    livemode: bool,
    /// How many events, each with an id of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// How often each is sent: the same event, newly signed, as Stripe retries
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Sign with a secret that nobody has
    #[arg(long)]
    forge: bool,
    /// Change one byte after signing
    #[arg(long)]
    alter: bool,
    /// A file with the signing secret [default: $STRIPE_WEBHOOK_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// List the types
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  countersign send                                   a completed checkout to http://localhost:5000
  countersign send --times 3                         the event and two copies: the backend sees one
  countersign send --forge                           must be refused, as must --alter
  countersign send http://localhost:8080/webhooks/stripe --file event.json";

pub(super) fn run(args: &Args, env: &Env) -> Result<ExitCode, Failure> {
    if args.list {
        for kind in &KINDS {
            println!("{:<30} {}", kind.name, kind.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let secrets = match args.forge {
        true => vec![Secret::new(&format!("whsec_{}", random_letters::<32>()?))],
        false => secrets::signing(args.secret_file.as_deref(), env)?,
    };
    let events = events(args)?;
    runtime()?.block_on(send(args, &secrets, &events))
}

/// A URL that an event can be sent to: "localhost:5000" is one as well, of the scheme "localhost".
fn web(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("write it whole, as in http://localhost:5000/webhooks/stripe".to_owned()),
    }
}

/// An event to be sent.
struct Event {
    /// What it is called when it is told of.
    label: String,
    body: Vec<u8>,
}

fn events(args: &Args) -> Result<Vec<Event>, Failure> {
    if let Some(file) = &args.file {
        let body = payload(Some(file))?;
        return Ok(vec![Event {
            label: labelled(&body).unwrap_or_else(|| file.display().to_string()),
            body,
        }]);
    }
    let Some(kind) = KINDS.iter().find(|kind| kind.name == args.kind) else {
        return Err(Failure::failed(format!("no such type: {}", args.kind)));
    };
    (0..args.count).map(|_| event(args, kind)).collect()
}

fn event(args: &Args, kind: &Kind) -> Result<Event, Failure> {
    let id = match &args.id {
        Some(id) => id.clone(),
        None => format!("evt_1{}", random_letters::<23>()?),
    };
    let reference = random_letters::<24>()?;
    let details =
        Details { id: &id, now: clock::unix_seconds(), livemode: args.livemode, reference: &reference };
    Ok(Event { label: format!("{id} {}", kind.name), body: kind.build(&details) })
}

/// A payload's own id and type, if it has them.
fn labelled(body: &[u8]) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(format!("{} {}", event.get("id")?.as_str()?, event.get("type")?.as_str()?))
}

async fn send(args: &Args, secrets: &[Secret], events: &[Event]) -> Result<ExitCode, Failure> {
    let client = Client::builder()
        .user_agent("Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
        .http1_only()
        .no_proxy()
        .build()
        .map_err(|error| Failure::failed(format!("no HTTP client: {}", root(&error))))?;
    println!("POST {}", args.url);
    let (mut sent, mut unexpected) = (0_u32, 0_u32);
    for event in events {
        for time in 1..=args.times {
            let mut note = String::new();
            if time > 1 {
                note += &format!(", copy {time}");
            }
            if args.forge {
                note += ", forged";
            }
            let signature = signature::sign(secrets, clock::unix_seconds(), &event.body);
            let mut body = event.body.clone();
            if args.alter {
                alter(&mut body)?;
                note += ", altered";
            }
            println!("{}{note}", event.label);
            let begun = clock::instant();
            let answer = post(&client, args.url.clone(), signature, body).await;
            let took = clock::instant().saturating_duration_since(begun).as_millis();
            sent += 1;
            match answer {
                Ok(answer) => {
                    println!("  {} in {took} ms{}", answer.heading, answer.excerpt);
                    let class = if args.forge || args.alter { 4 } else { 2 };
                    unexpected += u32::from(answer.status / 100 != class);
                }
                Err(error) => {
                    println!("  no answer after {took} ms: {}", root(&error));
                    unexpected += 1;
                }
            }
        }
    }
    if unexpected == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let expected = if args.forge || args.alter { "refused (4xx)" } else { "accepted (2xx)" };
    Err(Failure::failed(format!("{unexpected} of {sent} not {expected}")))
}

/// What came back.
struct Answer {
    status: u16,
    /// Status and outcome.
    heading: String,
    /// The beginning of the body, if there is one.
    excerpt: String,
}

async fn post(client: &Client, url: Url, signature: String, body: Vec<u8>) -> reqwest::Result<Answer> {
    let response = client
        .post(url)
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-cache")
        .header("Stripe-Signature", signature)
        .body(body)
        .send()
        .await?;
    let status = response.status().as_u16();
    let outcome = response.headers().get("Countersign-Outcome").and_then(|outcome| outcome.to_str().ok());
    let heading = match outcome {
        Some(outcome) => format!("{status} {outcome}"),
        None => format!("{status} (no Countersign-Outcome)"),
    };
    Ok(Answer { status, heading, excerpt: excerpt(response).await? })
}

/// The beginning of a body, on one line.
async fn excerpt(mut response: Response) -> reqwest::Result<String> {
    let mut body = Vec::new();
    while body.len() < BODY
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    Ok(if short.is_empty() { String::new() } else { format!(": {short}") })
}

/// Changes one byte, a digit if there is one: the payload stays JSON, so that only the signature can tell.
fn alter(body: &mut [u8]) -> Result<(), Failure> {
    let digit = body.iter().rposition(u8::is_ascii_digit);
    match digit.or(body.len().checked_sub(1)).and_then(|position| body.get_mut(position)) {
        Some(byte) if byte.is_ascii_digit() => *byte = if *byte == b'9' { b'8' } else { *byte + 1 },
        Some(byte) => *byte ^= 1,
        None => return Err(Failure::failed("an empty payload has no byte to alter")),
    }
    Ok(())
}

fn random_letters<const N: usize>() -> Result<String, Failure> {
    let mut random = [0; N];
    getrandom::fill(&mut random).map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    Ok(letters(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altering_changes_one_byte_and_leaves_json_json() {
        for (body, expected) in [("{\"a\": 19}", "{\"a\": 18}"), ("{\"a\": 1}", "{\"a\": 2}"), ("abc", "abb")]
        {
            let mut altered = body.as_bytes().to_vec();
            alter(&mut altered).unwrap();
            assert_eq!(String::from_utf8(altered).unwrap(), expected);
        }
        alter(&mut []).unwrap_err();
    }

    #[test]
    fn a_payload_of_ones_own_is_called_by_its_id_and_type() {
        assert_eq!(labelled(br#"{"id": "evt_1", "type": "a.b"}"#).as_deref(), Some("evt_1 a.b"));
        assert_eq!(labelled(b"x"), None);
        assert_eq!(labelled(br#"{"id": 1}"#), None);
    }
}
