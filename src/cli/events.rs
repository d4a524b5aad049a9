//! `events`: the ledger's records, listed, shown, delivered again, forgotten. It talks to the running program's events
//! API alone, never to the ledger, so it may be used at any time.

mod print;

pub(super) use print::{say, word};

use super::admin::{Admin, escaped};
use super::{Env, Failure, runtime};
use crate::config::Source;
use crate::ledger::State;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use print::{Printer, described};
use reqwest::Method;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Records that are asked for at once.
const PAGE: usize = 500;

/// See what became of events, and deliver or forget them
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The configuration [default: $COUNTERSIGN_CONFIG, else /etc/countersign/countersign.toml, else built in]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  countersign events list --state dead                    what was given up on
  countersign events list --json --all | jq .type         a line of JSON each
  countersign events show evt_1NG8Du2eZvKYlo2C            one, with its times and attempts
  countersign events redeliver evt_1NG8Du2eZvKYlo2C       deliver it again, now
  countersign events redeliver --state dead --type 'invoice.*' --dry-run
  countersign events redeliver --state dead --yes         everything that was given up on
  countersign events forget evt_1NG8Du2eZvKYlo2C          no record of it any more, nor its payload

An event is named by its id or, where several have that, by its key, which list --json tells.
The running program is asked where [admin] listen says, with its token.

Exit status: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.";

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Show(Show),
    Redeliver(Redeliver),
    Forget(Forget),
}

/// List records
#[derive(Debug, Parser)]
struct List {
    /// Of this endpoint alone, by its name
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// In this state alone
    #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.map(State::as_str)))]
    state: Option<String>,
    /// Of this type alone; a * at its end stands for any rest
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// With this id alone
    #[arg(long)]
    id: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Every one
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

/// Show one record
#[derive(Debug, Parser)]
struct Show {
    /// Its id, or its key
    #[arg(value_name = "EVENT")]
    key: String,
    /// The payload instead, byte for byte, while it is kept
    #[arg(long, conflicts_with = "json")]
    payload: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Deliver events again, now: these, or all that match
#[derive(Debug, Parser)]
struct Redeliver {
    /// Their ids, or their keys
    #[arg(value_name = "EVENT", conflicts_with_all = ["endpoint", "state", "kind", "dry_run"],
          required_unless_present_any = ["endpoint", "state", "kind"])]
    keys: Vec<String>,
    /// Of this endpoint alone, by its name
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// In this state alone [default: dead]
    #[arg(long, value_parser = ["dead", "pending"])]
    state: Option<String>,
    /// Of this type alone; a * at its end stands for any rest
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only list them
    #[arg(long)]
    dry_run: bool,
    /// Also if many match
    #[arg(long)]
    yes: bool,
}

/// Remove records and what is kept of their events
///
/// What is forgotten is new when Stripe sends it again.
#[derive(Debug, Parser)]
struct Forget {
    /// Their ids, or their keys
    #[arg(value_name = "EVENT", required = true)]
    keys: Vec<String>,
    /// Also if they are many
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: Args, env: Env) -> Result<ExitCode, Failure> {
    let section = Source::new(args.config, env).load_admin();
    let section = section.map_err(|faults| Failure::config(faults.to_string()))?;
    let admin = Admin::new(&section)?;
    runtime()?.block_on(async {
        match args.verb {
            Verb::List(args) => list(&admin, &args).await,
            Verb::Show(args) => show(&admin, &args).await,
            Verb::Redeliver(args) if args.keys.is_empty() => redeliver_many(&admin, &args).await,
            Verb::Redeliver(args) => each(&admin, &args.keys, Method::POST, "/redeliver", "due now").await,
            Verb::Forget(args) if args.keys.len() > 1 && !args.yes => {
                Err(many(args.keys.len() as u64, "forget"))
            }
            Verb::Forget(args) => each(&admin, &args.keys, Method::DELETE, "", "forgotten").await,
        }
    })
}

/// Some parameters of a query; blank ones say nothing.
type Query<'a> = [(&'a str, &'a str)];

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

async fn list(admin: &Admin, args: &List) -> Result<ExitCode, Failure> {
    let which = [
        ("endpoint", text(&args.endpoint)),
        ("state", text(&args.state)),
        ("type", text(&args.kind)),
        ("id", text(&args.id)),
    ];
    let most = if args.all { usize::MAX } else { usize::try_from(args.limit).unwrap_or(usize::MAX) };
    let mut printer = Printer { json: args.json, printed: 0 };
    let more = print(admin, &which, most, &mut printer).await?;
    match (printer.printed, more) {
        (0, _) => eprintln!("no such events"),
        (shown, true) => eprintln!("the first {shown}; --limit or --all for more"),
        (_, false) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(admin: &Admin, args: &Show) -> Result<ExitCode, Failure> {
    if args.payload {
        let payload = admin.payload(&args.key).await?;
        // A closed pipe leaves nobody to tell.
        let _ = std::io::stdout().write_all(&payload);
        return Ok(ExitCode::SUCCESS);
    }
    let answer = admin.get(&format!("/{}", escaped(&args.key)), &[]).await?;
    if args.json {
        say(&format!("{:#}", answer.said));
    } else {
        say(&described(&answer.said));
    }
    Ok(ExitCode::SUCCESS)
}

async fn redeliver_many(admin: &Admin, args: &Redeliver) -> Result<ExitCode, Failure> {
    let state = args.state.as_deref().unwrap_or("dead");
    let which = [("endpoint", text(&args.endpoint)), ("state", state), ("type", text(&args.kind))];
    if args.dry_run {
        let mut printer = Printer { json: false, printed: 0 };
        print(admin, &which, usize::MAX, &mut printer).await?;
        eprintln!("{} would be redelivered", events(printer.printed as u64));
        return Ok(ExitCode::SUCCESS);
    }
    let matched = pages(admin, &which, true).await?.matched;
    if matched > 1 && !args.yes {
        return Err(many(matched, "redeliver"));
    }
    let Sum { redelivered, in_flight, payload_gone, .. } = pages(admin, &which, false).await?;
    let mut said = format!("{} due now", events(redelivered));
    for (count, why) in [(in_flight, "being delivered"), (payload_gone, "no longer to be delivered")] {
        if count > 0 {
            said += &format!(", {count} {why}");
        }
    }
    say(&said);
    Ok(ExitCode::SUCCESS)
}

/// What came of a bulk redelivery.
#[derive(Default)]
struct Sum {
    matched: u64,
    redelivered: u64,
    in_flight: u64,
    payload_gone: u64,
}

/// Goes through a bulk redelivery's pages.
async fn pages(admin: &Admin, which: &Query<'_>, dry_run: bool) -> Result<Sum, Failure> {
    let (mut sum, mut after, limit) = (Sum::default(), String::new(), PAGE.to_string());
    let dry_run = if dry_run { "true" } else { "" };
    loop {
        let query =
            [which, &[("dry_run", dry_run), ("limit", limit.as_str()), ("after", after.as_str())]].concat();
        let answer = admin.post("/redeliver", &query).await?;
        sum.matched += answer.count("matched");
        sum.redelivered += answer.count("redelivered");
        sum.in_flight += answer.count("in_flight");
        sum.payload_gone += answer.count("payload_gone");
        match answer.text("next") {
            Some(next) => after = next.to_owned(),
            None => return Ok(sum),
        }
    }
}

/// Asks for one thing for each of these events, whatever comes of the others.
async fn each(
    admin: &Admin,
    keys: &[String],
    method: Method,
    what: &str,
    done: &str,
) -> Result<ExitCode, Failure> {
    let mut failed = 0;
    for key in keys {
        let path = format!("/{}{what}", escaped(key));
        let answer = admin.try_send(method.clone(), &path, &[], Vec::new()).await?;
        if answer.status < 400 {
            say(&format!("{key} {done}"));
        } else {
            eprintln!("{key}: {}", answer.message());
            failed += 1;
        }
    }
    if failed == 0 {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::failed(format!("{failed} of {} not {done}", keys.len())))
    }
}

fn many(count: u64, verb: &str) -> Failure {
    Failure { code: 2, message: format!("{} match; add --yes to {verb} them all", events(count)) }
}

fn events(count: u64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

/// Prints records, page after page, and says whether there would be more of them.
async fn print(
    admin: &Admin,
    which: &Query<'_>,
    most: usize,
    printer: &mut Printer,
) -> Result<bool, Failure> {
    let mut after = String::new();
    loop {
        let limit = PAGE.min(most - printer.printed).to_string();
        let query = [which, &[("limit", limit.as_str()), ("after", after.as_str())]].concat();
        let answer = admin.get("", &query).await?;
        let page = answer.said["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        for record in page {
            if printer.printed == most {
                return Ok(true);
            }
            printer.line(record);
        }
        match answer.text("next") {
            Some(_) if printer.printed == most => return Ok(true),
            Some(next) => after = next.to_owned(),
            None => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_bulk_redelivery_needs_a_filter_and_keys_need_none() {
        let parses =
            |words: &[&str]| Args::command().try_get_matches_from([&["events"], words].concat()).is_ok();
        for (words, good) in [
            (&["redeliver"][..], false),
            (&["redeliver", "evt_1", "evt_2"], true),
            (&["redeliver", "evt_1", "--state", "dead"], false),
            (&["redeliver", "--state", "dead", "--type", "invoice.*", "--dry-run"], true),
            (&["redeliver", "--state", "delivered"], false),
            (&["redeliver", "--dry-run"], false),
            (&["list", "--state", "deed"], false),
            (&["list", "--all", "--limit", "5"], false),
            (&["forget"], false),
        ] {
            assert_eq!(parses(words), good, "{words:?}");
        }
    }
}
