//! The reader of the configuration file. It looks keys up, replaces placeholders, hands texts to parsers and collects
//! every error. It knows no section and no key, and shows no secret.
//!
//! - `reading`: one reading of one file, and the errors it found
//! - `section`: one table, read key by key; `scalar` adds numbers and booleans, `secrets` what is read by placeholder only
//! - `value`: one value with its place in the file
//! - `placeholder`: `{$NAME}`, `{$NAME:default}` and `{file./path}`
//! - `shell_variable`: `$NAME` and `${NAME}`, which are no placeholders
//! - `parse`: texts to durations, sizes, sockets and hosts
//! - `diagnostics`: the errors, and what they may show of a value
//! - `unknown_keys`: the key that a misspelled one probably stands for

mod diagnostics;
mod parse;
mod placeholder;
mod reading;
mod scalar;
mod secrets;
mod section;
mod shell_variable;
mod unknown_keys;
mod value;

pub use diagnostics::{ConfigError, Diagnostic};
pub(crate) use parse::{
    DAY, InvalidValue, SECOND, bare_host, decimal_port, duration, one_of, timeout, unix_socket,
};
pub(crate) use placeholder::{Environment, PlaceholderError, closing_brace, expand};
pub(crate) use reading::Reading;
pub(crate) use section::Section;
pub(crate) use shell_variable::is_shell_variable;
pub(crate) use value::{SECRETS_STAY_OUTSIDE, ValueReader};
