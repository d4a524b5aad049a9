//! The arguments of `events`, and the filters that they make. It sends nothing.

use crate::cli::config_arg::ConfigArg;
use crate::cli::error::CliError;
use crate::ledger::State;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

/// List, show, redeliver and delete events
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    pub(super) command: EventsCommand,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

const EXAMPLES: &str = "\
Examples:
  countersign events list --state dead                    list the events whose attempts are used up
  countersign events list --json --all | jq .type         print each record as a line of JSON
  countersign events show evt_1NG8Du2eZvKYlo2C            show one, with its times and attempts
  countersign events redeliver evt_1NG8Du2eZvKYlo2C       deliver it again, now
  countersign events redeliver --state dead --type 'invoice.*' --dry-run
  countersign events redeliver --state dead --yes         redeliver all dead events
  countersign events delete evt_1NG8Du2eZvKYlo2C          delete its record and its payload

An event is named by its id. If several records have that id, use the key, which list --json prints.
The command asks the running program at [admin] listen, with its token.

Exit status: 0 success, 1 failure, 2 wrong usage, 78 invalid configuration.";

#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    List(ListArgs),
    Show(ShowArgs),
    Redeliver(RedeliverArgs),
    Delete(DeleteArgs),
}

/// List records
#[derive(Debug, Parser)]
pub(super) struct ListArgs {
    /// Only records of the endpoint with this name
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only records in this state
    #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.map(State::as_str)))]
    state: Option<String>,
    /// Only events of this type; a * at the end matches any rest
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only records with this event id
    #[arg(long)]
    id: Option<String>,
    /// How many records to print at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
    /// Print all records
    #[arg(long, conflicts_with = "limit")]
    pub(super) all: bool,
    /// Print each record as a line of JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Show one record
#[derive(Debug, Parser)]
pub(super) struct ShowArgs {
    /// The event's id or key
    #[arg(value_name = "EVENT")]
    pub(super) key: String,
    /// Print the stored payload instead, byte for byte
    #[arg(long, conflicts_with = "json")]
    pub(super) payload: bool,
    /// Print the record as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Deliver events again, now: those named, or all that match
#[derive(Debug, Parser)]
pub(super) struct RedeliverArgs {
    /// The events' ids or keys
    #[arg(value_name = "EVENT", conflicts_with_all = ["endpoint", "state", "event_type", "dry_run"])]
    pub(super) keys: Vec<String>,
    /// Only events of the endpoint with this name
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only events in this state [default: dead]
    #[arg(long, value_parser = ["dead", "pending"])]
    state: Option<String>,
    /// Only events of this type; a * at the end matches any rest
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// List the matching events and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Skip the confirmation when more than one event matches
    #[arg(long)]
    pub(super) yes: bool,
}

/// Delete records and the stored payloads of their events
///
/// If Stripe sends a deleted event again, it is new.
#[derive(Debug, Parser)]
pub(super) struct DeleteArgs {
    /// The events' ids or keys
    #[arg(value_name = "EVENT", required = true)]
    pub(super) keys: Vec<String>,
    /// Skip the confirmation when more than one event is named
    #[arg(long)]
    pub(super) yes: bool,
}

/// Parameters of a query to the events API; a blank value means that the parameter is absent.
pub(super) type QueryParams<'a> = [(&'a str, &'a str)];

impl ListArgs {
    /// Returns the filter of the API that the arguments ask for.
    pub(super) fn filter(&self) -> [(&str, &str); 4] {
        [
            ("endpoint", or_blank(&self.endpoint)),
            ("state", or_blank(&self.state)),
            ("type", or_blank(&self.event_type)),
            ("id", or_blank(&self.id)),
        ]
    }
}

impl RedeliverArgs {
    /// Checks that the arguments name events, or choose some.
    ///
    /// # Errors
    /// The arguments name no event and no filter. Without one, every dead event would be meant.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let chooses = self.endpoint.is_some() || self.state.is_some() || self.event_type.is_some();
        if chooses || !self.keys.is_empty() {
            return Ok(());
        }
        Err(CliError::usage(
            "which events? Name them by their ids:\n  countersign events redeliver evt_1NG8Du2eZvKYlo2C\n\
             or choose them by --state, --type or --endpoint, and look first with --dry-run:\n  \
             countersign events redeliver --state dead --dry-run",
        ))
    }

    /// Returns the filter of the API that the arguments ask for.
    pub(super) fn filter(&self) -> [(&str, &str); 3] {
        [
            ("endpoint", or_blank(&self.endpoint)),
            ("state", self.state.as_deref().unwrap_or("dead")),
            ("type", or_blank(&self.event_type)),
        ]
    }
}

fn or_blank(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_bulk_redelivery_needs_a_filter_and_named_events_need_none() {
        let parses = |arguments: &[&str]| match Args::try_parse_from([&["events"], arguments].concat())
            .map(|args| args.command)
        {
            Ok(EventsCommand::Redeliver(args)) => args.check().is_ok(),
            Ok(EventsCommand::List(_) | EventsCommand::Show(_) | EventsCommand::Delete(_)) => true,
            Err(_) => false,
        };
        for (arguments, valid) in [
            (&["redeliver"][..], false),
            (&["redeliver", "evt_1", "evt_2"], true),
            (&["redeliver", "evt_1", "--state", "dead"], false),
            (&["redeliver", "--state", "dead", "--type", "invoice.*", "--dry-run"], true),
            (&["redeliver", "--state", "delivered"], false),
            (&["redeliver", "--dry-run"], false),
            (&["list", "--state", "deed"], false),
            (&["list", "--all", "--limit", "5"], false),
            (&["delete"], false),
        ] {
            assert_eq!(parses(arguments), valid, "{arguments:?}");
        }
    }
}
