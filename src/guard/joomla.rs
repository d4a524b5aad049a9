//! How Joomla reads the pairs of a webhook in other keys and values. It holds facts only; `query` applies them.
//!
//! A command `stripe.webhook` is a controller and its task. Joomla takes the controller from `controller` as well
//! (joomla/joomla-cms, `libraries/src/Dispatcher/ComponentDispatcher.php`), and components of the Framework on Framework
//! from `view`. It drops what follows the task. A command that is an array is its last key
//! (`libraries/src/MVC/Controller/BaseController.php`).

use super::decode::Decoded;
use super::location::QueryPair;
use super::parameter::same_letters;

/// The keys that name a controller.
const CONTROLLER_KEYS: [&str; 2] = ["controller", "view"];

/// Returns whether Joomla may take a pair from a menu item.
pub(super) fn is_option(pair: &QueryPair) -> bool {
    same_letters(pair.key.as_bytes(), "option")
}

/// Returns the other pairs that select the same controller and task. The option is not among them, since a menu item gives it.
pub(super) fn alternatives(pairs: &[QueryPair]) -> Vec<Vec<QueryPair>> {
    let command = pairs.iter().find_map(|pair| Some((pair, pair.value.split_once('.')?)));
    let Some((command, (controller, task))) = command else { return Vec::new() };
    let pair = |key: &str, value: &str| QueryPair { key: key.to_owned(), value: value.to_owned() };
    let others = pairs.iter().filter(|other| *other != command && !is_option(other));
    let with = |key: &&str| {
        let mut all = vec![pair(key, controller), pair(&command.key, task)];
        all.extend(others.clone().cloned());
        all
    };
    CONTROLLER_KEYS.iter().map(with).collect()
}

/// Returns the commands that Joomla reads in a field, as it was sent.
pub(super) fn commands(key: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
    let key = Decoded::new(key).text;
    let as_key = memchr::memchr(b'[', &key).map(|at| key[at + 1..].to_vec());
    let whole = [Some(Decoded::new(value).text.clone()), as_key];
    let cut = |text: Vec<u8>| {
        let parts: Vec<&[u8]> =
            text.split(|&byte| byte == b'.').filter(|part| !part.is_empty()).take(2).collect();
        parts.join(&b'.')
    };
    whole.into_iter().flatten().map(cut).collect()
}
