//! `send`: posts signed test events as Stripe does, and prints each response. It judges the status alone: 2xx for
//! genuine events, 4xx for those that must be rejected.

use super::config_arg::EnvVars;
use super::error::CliError;
use super::runtime::block_on;
use super::samples::{SAMPLES, SampleEvent, TemplateValues, id_characters};
use super::sign::{read_payload, unix_now};
use super::signing_secrets;
use crate::clock;
use crate::stripe::signature::{self, Secret};
use crate::stripe_api::root_cause;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use reqwest::{Client, Response, Url, header, redirect};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The time for one response; longer than the program and the backend behind it may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How many bytes of a response's body are read, at least; the rest of the last chunk comes with them.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How many characters of the body are printed.
const MAX_EXCERPT_CHARS: usize = 240;

/// Send signed test events, as Stripe does
///
/// Exits with 0 if every response was 2xx; with --forge or --alter, if every one was 4xx.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The URL to send to
    #[arg(default_value = "http://localhost:5000/webhooks/stripe", value_parser = http_url)]
    url: Url,
    /// The event's type [see --list]
    #[arg(long = "type", value_name = "TYPE", default_value = SAMPLES[0].event_type, hide_possible_values = true,
          value_parser = PossibleValuesParser::new(SAMPLES.map(|sample| sample.event_type)))]
    event_type: String,
    /// A file with your own payload, sent byte for byte; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["event_type", "id", "livemode", "count"])]
    file: Option<PathBuf>,
    /// The event's id [default: a new one]
    #[arg(long, conflicts_with = "count")]
    id: Option<String>,
    /// Send live events instead of test ones
    #[arg(long)]
    livemode: bool,
    /// How many events to send, each with its own id
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// How many times to send each event, signed again each time, as Stripe retries
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Sign with a random secret; the event must be rejected
    #[arg(long)]
    forge: bool,
    /// Change one byte after signing; the event must be rejected
    #[arg(long)]
    alter: bool,
    /// A file with the signing secret [default: $STRIPE_WEBHOOK_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// List the types and send nothing
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  countersign send                                   send a completed checkout to port 5000
  countersign send --times 3                         send an event and two copies of it
  countersign send --forge                           send a forged event, which must be rejected
  countersign send http://localhost:8080/webhooks/stripe --file event.json";

impl Args {
    /// Returns true if the events must be rejected.
    fn expects_rejection(&self) -> bool {
        self.forge || self.alter
    }
}

pub(super) fn run(args: &Args, env: &EnvVars) -> Result<ExitCode, CliError> {
    if args.list {
        for sample in &SAMPLES {
            println!("{:<30} {}", sample.event_type, sample.summary);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let secrets = match args.forge {
        true => vec![Secret::new(&format!("whsec_{}", random_characters::<32>()?))],
        false => signing_secrets::read(args.secret_file.as_deref(), env)?,
    };
    let events = test_events(args)?;
    block_on(send_all(args, &secrets, &events))?
}

/// Parses a URL with a scheme that events can be sent to. `localhost:5000` is a valid URL too, with the scheme
/// `localhost`.
fn http_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("expected a whole URL, such as http://localhost:5000/webhooks/stripe".to_owned()),
    }
}

/// An event to send.
struct TestEvent {
    /// The id and the type, or the file's name.
    label: String,
    /// The payload.
    body: Vec<u8>,
}

fn test_events(args: &Args) -> Result<Vec<TestEvent>, CliError> {
    if let Some(file) = &args.file {
        let body = read_payload(Some(file))?;
        let label = label_of(&body).unwrap_or_else(|| file.display().to_string());
        return Ok(vec![TestEvent { label, body }]);
    }
    let Some(sample) = SAMPLES.iter().find(|sample| sample.event_type == args.event_type) else {
        return Err(CliError::failed(format!("unknown type {}; --list shows all types", args.event_type)));
    };
    (0..args.count).map(|_| sample_event(args, sample)).collect()
}

fn sample_event(args: &Args, sample: &SampleEvent) -> Result<TestEvent, CliError> {
    let id = match &args.id {
        Some(id) => id.clone(),
        None => format!("evt_1{}", random_characters::<23>()?),
    };
    let reference = random_characters::<24>()?;
    let values = TemplateValues { id: &id, now: unix_now(), livemode: args.livemode, reference: &reference };
    Ok(TestEvent { label: format!("{id} {}", sample.event_type), body: sample.payload(&values) })
}

/// Returns a payload's own id and type, if it has both.
fn label_of(body: &[u8]) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(format!("{} {}", event.get("id")?.as_str()?, event.get("type")?.as_str()?))
}

async fn send_all(args: &Args, secrets: &[Secret], events: &[TestEvent]) -> Result<ExitCode, CliError> {
    let client = http_client()?;
    println!("POST {}", args.url);
    let (mut sent, mut unexpected) = (0_u32, 0_u32);
    for event in events {
        for time in 1..=args.times {
            sent += 1;
            unexpected += u32::from(!send_one(&client, args, secrets, event, time).await?);
        }
    }
    if unexpected == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let expected = if args.expects_rejection() { "rejected (4xx)" } else { "accepted (2xx)" };
    Err(CliError::failed(format!("{unexpected} of {sent} not {expected}")))
}

fn http_client() -> Result<Client, CliError> {
    Client::builder()
        .user_agent("Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
        .http1_only()
        .no_proxy()
        .build()
        .map_err(|error| CliError::failed(format!("cannot build the HTTP client: {}", root_cause(&error))))
}

/// Sends an event for the `time`-th time and prints the result. Returns true if the status is the expected one.
async fn send_one(
    client: &Client,
    args: &Args,
    secrets: &[Secret],
    event: &TestEvent,
    time: u32,
) -> Result<bool, CliError> {
    let mut note = String::new();
    if time > 1 {
        note += &format!(", copy {time}");
    }
    if args.forge {
        note += ", forged";
    }
    // Each copy is signed again, as Stripe does: an old timestamp would be rejected.
    let signature = signature::sign(secrets, unix_now(), &event.body);
    let mut body = event.body.clone();
    if args.alter {
        alter(&mut body)?;
        note += ", altered";
    }
    println!("{}{note}", event.label);
    let started = clock::instant();
    let response = post(client, args.url.clone(), signature, body).await;
    let took = clock::instant().saturating_duration_since(started).as_millis();
    match response {
        Ok(response) => {
            println!("  {} in {took} ms{}", response.heading, response.excerpt);
            if !response.is_ours {
                println!(
                    "  Countersign did not check this request: does a [[webhook]] have the path {}?",
                    args.url.path()
                );
            }
            Ok(match response.status / 100 {
                2 => !args.expects_rejection(),
                // A backend's 404 rejects a forgery too, but the next one may reach a path that the backend serves.
                4 => args.expects_rejection() && response.is_ours,
                _ => false,
            })
        }
        Err(error) => {
            println!(
                "  no response after {took} ms: {}; is Caddy or Countersign running there?",
                root_cause(&error)
            );
            Ok(false)
        }
    }
}

/// The parts of a response that are checked or printed.
struct SendResponse {
    /// The HTTP status.
    status: u16,
    /// Whether Countersign responded, and not a server that it passed the request on to.
    is_ours: bool,
    /// The status and the outcome, as they are printed.
    heading: String,
    /// `: ` and the beginning of the body; blank if there is no body.
    excerpt: String,
}

async fn post(client: &Client, url: Url, signature: String, body: Vec<u8>) -> reqwest::Result<SendResponse> {
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
    let is_ours = outcome.is_some();
    let heading = match outcome {
        Some(outcome) => format!("{status} {outcome}"),
        // Another server responded, or a proxy in front of Countersign.
        None => format!("{status} (no Countersign-Outcome)"),
    };
    Ok(SendResponse { status, is_ours, heading, excerpt: excerpt(response).await? })
}

/// Returns the beginning of the body on one line.
async fn excerpt(mut response: Response) -> reqwest::Result<String> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Without control characters: the body is not ours, and must not move the terminal's cursor.
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(MAX_EXCERPT_CHARS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    Ok(if short.is_empty() { String::new() } else { format!(": {short}") })
}

/// Changes one byte, a digit if there is one. The payload then stays valid JSON, so that only the signature shows the
/// change.
fn alter(body: &mut [u8]) -> Result<(), CliError> {
    let digit = body.iter().rposition(u8::is_ascii_digit);
    match digit.or(body.len().checked_sub(1)).and_then(|position| body.get_mut(position)) {
        Some(byte) if byte.is_ascii_digit() => *byte = if *byte == b'9' { b'8' } else { *byte + 1 },
        Some(byte) => *byte ^= 1,
        None => return Err(CliError::failed("--alter needs a payload of at least one byte")),
    }
    Ok(())
}

fn random_characters<const N: usize>() -> Result<String, CliError> {
    let mut random = [0; N];
    getrandom::fill(&mut random)
        .map_err(|error| CliError::failed(format!("the system's random generator failed: {error}")))?;
    Ok(id_characters(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altering_changes_one_byte_and_json_stays_valid() {
        for (body, expected) in [("{\"a\": 19}", "{\"a\": 18}"), ("{\"a\": 1}", "{\"a\": 2}"), ("abc", "abb")]
        {
            let mut altered = body.as_bytes().to_vec();
            alter(&mut altered).unwrap();
            assert_eq!(String::from_utf8(altered).unwrap(), expected);
        }
        alter(&mut []).unwrap_err();
    }

    #[test]
    fn a_payload_from_a_file_is_labelled_with_its_id_and_type() {
        assert_eq!(label_of(br#"{"id": "evt_1", "type": "a.b"}"#).as_deref(), Some("evt_1 a.b"));
        assert_eq!(label_of(b"x"), None);
        assert_eq!(label_of(br#"{"id": 1}"#), None);
    }
}
