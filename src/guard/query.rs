//! The guard of front controllers: which queries some parser reads as the pairs that tell a webhook. It does not decide
//! how a parser reads a key or a value: that is `parameter`. Form bodies are judged by the same rules, in `form`.

use super::decode::Decoded;
use super::joomla;
use super::location::{Location, QueryPair};
use super::normalize::{self, Canonical};
use super::parameter::{key_reads_as, letters, same_letters, value_reads_as};
use super::preset::Preset;

/// The maximum of pairs that tell one webhook.
pub const MAX_QUERY_PAIRS: usize = 8;

/// The locations that a query tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QueryGuard {
    /// One rule for each location; those with more pairs come first.
    rules: Vec<Rule>,
}

/// The pairs of one location.
#[derive(Debug, Clone, PartialEq)]
struct Rule {
    /// The position of the location.
    webhook: usize,
    pairs: Vec<QueryPair>,
    preset: Option<Preset>,
    /// Whether the pairs are those of the configuration. A request that has other pairs never spells the webhook.
    is_configured: bool,
}

/// The pairs of each rule that some parser reads in a request so far: one bit for each pair.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PairsRead(Vec<u8>);

/// What a query is to the guard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QueryMatch {
    /// The query and the path are spelled as those of the location at this position.
    Exact(usize),
    /// Some parser reads the query as that of the location at this position.
    Ambiguous(usize),
}

impl QueryGuard {
    /// Creates the guard of the locations that have a query. Returns `None` if there are none.
    pub(super) fn new(locations: &[Location]) -> Option<Self> {
        let with_query = locations.iter().enumerate().filter(|(_, location)| !location.query.is_empty());
        let rule = |(webhook, location): (usize, &Location)| Rule {
            webhook,
            pairs: location.query.clone(),
            preset: location.preset,
            is_configured: true,
        };
        let mut rules: Vec<Rule> = with_query.map(rule).collect();
        let of_joomla = rules.iter().filter(|rule| rule.preset == Some(Preset::Joomla));
        let alternatives: Vec<Rule> = of_joomla
            .flat_map(|rule| {
                let other = |mut pairs: Vec<QueryPair>| {
                    pairs.truncate(MAX_QUERY_PAIRS);
                    Rule { pairs, is_configured: false, ..rule.clone() }
                };
                joomla::alternatives(&rule.pairs).into_iter().map(other)
            })
            .collect();
        rules.extend(alternatives);
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.pairs.len()));
        (!rules.is_empty()).then_some(Self { rules })
    }

    /// Classifies the query of a target. `path` is its path as it was sent, and `is_path` tells whether it is spelled as that
    /// of a location.
    pub(super) fn classify(
        &self,
        path: &[u8],
        query: &[u8],
        is_path: impl Fn(usize) -> bool,
    ) -> Option<QueryMatch> {
        let read = self.read(path, query);
        let complete = || self.rules.iter().zip(&read.0).filter(|(rule, read)| rule.is_complete(**read));
        let (first, _) = complete().next()?;
        let exact =
            complete().map(|(rule, _)| rule).find(|rule| is_path(rule.webhook) && rule.is_spelled(query));
        let Some(exact) = exact else { return Some(QueryMatch::Ambiguous(first.webhook)) };
        // A request must not be two webhooks at once. One that needs fewer of the same pairs is less specific.
        match complete().find(|(rule, _)| rule.pairs.iter().any(|pair| !exact.pairs.contains(pair))) {
            Some((other, _)) => Some(QueryMatch::Ambiguous(other.webhook)),
            None => Some(QueryMatch::Exact(exact.webhook)),
        }
    }

    /// Returns the pairs that some parser reads in a query, or in the path as a product reads it.
    pub(super) fn read(&self, path: &[u8], query: &[u8]) -> PairsRead {
        let mut read = PairsRead(vec![0; self.rules.len()]);
        for pair in pieces(query) {
            let (key, value) = split_pair(pair);
            self.add(key, value, &mut read);
        }
        if self.rules.iter().any(|rule| rule.preset == Some(Preset::Joomla)) {
            self.add_menu_item(&mut read);
            self.add_component(path, &mut read);
        }
        read
    }

    /// Adds the pairs that some parser reads in a field with this key and value, both as they were sent.
    pub(super) fn add(&self, key: &[u8], value: &[u8], read: &mut PairsRead) {
        for (rule, read) in self.rules.iter().zip(&mut read.0) {
            for (bit, pair) in rule.pairs.iter().enumerate() {
                if key_reads_as(key, &pair.key) && rule.reads_value(key, value, &pair.value) {
                    *read |= 1 << bit;
                }
            }
        }
    }

    /// Adds the pairs whose key some parser reads in this key, whatever their value.
    pub(super) fn add_any_value(&self, key: &[u8], read: &mut PairsRead) {
        for (rule, read) in self.rules.iter().zip(&mut read.0) {
            for (bit, pair) in rule.pairs.iter().enumerate() {
                *read |= u8::from(key_reads_as(key, &pair.key)) << bit;
            }
        }
    }

    /// Adds every pair: the request cannot be judged.
    pub(super) fn add_all(&self, read: &mut PairsRead) {
        for (rule, read) in self.rules.iter().zip(&mut read.0) {
            *read = u8::MAX >> (MAX_QUERY_PAIRS - rule.pairs.len());
        }
    }

    /// Returns whether some parser reads a key of a rule in this key.
    pub(super) fn knows_key(&self, key: &[u8]) -> bool {
        self.rules.iter().flat_map(|rule| &rule.pairs).any(|pair| key_reads_as(key, &pair.key))
    }

    /// Returns the positions of the locations whose pairs are all read.
    pub(super) fn complete(&self, read: &PairsRead) -> impl Iterator<Item = usize> {
        let complete = self.rules.iter().zip(&read.0).filter(|(rule, read)| rule.is_complete(**read));
        complete.map(|(rule, _)| rule.webhook)
    }

    /// Adds the option that a menu item of Joomla may give to any path. A webhook that only its option tells has to name it:
    /// otherwise every page would be the webhook.
    fn add_menu_item(&self, read: &mut PairsRead) {
        for (rule, read) in self.rules.iter().zip(&mut read.0) {
            if rule.preset == Some(Preset::Joomla) && rule.pairs.len() > 1 {
                for (bit, pair) in rule.pairs.iter().enumerate() {
                    *read |= u8::from(joomla::is_option(pair)) << bit;
                }
            }
        }
    }

    /// Adds the option that Joomla reads in a path: `/component/shop` is `option=com_shop`.
    fn add_component(&self, path: &[u8], read: &mut PairsRead) {
        any_reading(path, |text| {
            let mut segments =
                normalize::segments(text).skip_while(|segment| !same_letters(segment, "component"));
            if let Some(name) = segments.nth(1) {
                self.add(b"option", name, read);
                self.add(b"option", &[b"com_", name].concat(), read);
            }
            false
        });
    }

    /// Returns the position of the location that a product reads in a path, whatever the query.
    ///
    /// WordPress reads the rewrite endpoint of WooCommerce on every path: `/any/wc-api/wc_stripe/`.
    pub(super) fn classify_path(&self, path: &[u8]) -> Option<usize> {
        let rules = || self.rules.iter().filter(|rule| rule.preset == Some(Preset::WooCommerce));
        rules().next()?;
        let mut found = None;
        any_reading(path, |text| {
            found = rules().find(|rule| rule.pairs.iter().all(|pair| ends_with_endpoint(text, pair)));
            found.is_some()
        });
        found.map(|rule| rule.webhook)
    }
}

impl Rule {
    /// Returns whether all pairs are read.
    fn is_complete(&self, read: u8) -> bool {
        read.count_ones() as usize == self.pairs.len()
    }

    /// Returns whether some parser reads the value of a field, or what Joomla takes for it, as that of a pair.
    fn reads_value(&self, key: &[u8], value: &[u8], configured: &str) -> bool {
        value_reads_as(value, configured)
            || self.preset == Some(Preset::Joomla)
                && joomla::commands(key, value).iter().any(|command| value_reads_as(command, configured))
    }

    /// Returns whether a query spells each configured pair exactly, and no parser reads its key twice.
    fn is_spelled(&self, query: &[u8]) -> bool {
        self.is_configured
            && self.pairs.iter().all(|pair| {
                let spelled = |piece: &[u8]| {
                    piece.strip_prefix(pair.key.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
                        == Some(pair.value.as_bytes())
                };
                let with_key =
                    pieces(query).filter(|piece| key_reads_as(split_pair(piece).0, &pair.key)).count();
                with_key == 1 && query.split(|&byte| byte == b'&').any(spelled)
            })
    }
}

/// Returns whether some segment is the key of a pair, and what follows is its value.
fn ends_with_endpoint(text: &[u8], pair: &QueryPair) -> bool {
    let slashes = text.iter().enumerate().filter(|(_, byte)| matches!(byte, b'/' | b'\\'));
    slashes.map(|(at, _)| &text[at + 1..]).any(|rest| {
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'\\'));
        end.is_some_and(|end| {
            same_letters(&rest[..end], &pair.key) && value_reads_as(&rest[end..], &pair.value)
        })
    })
}

/// Calls `is_found` with each text that a reader makes of a path, until it returns true.
fn any_reading(path: &[u8], mut is_found: impl FnMut(&[u8]) -> bool) {
    let decoded = Decoded::new(path);
    let _ = is_found(&decoded.text)
        || normalize::lenient(&decoded.text).is_some_and(|text| is_found(&text))
        || is_found(&Canonical::new(&decoded.text).path);
}

/// Returns the pieces of a query: those between `&`, and those between `;`, which older parsers read as `&`.
fn pieces(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|&byte| byte == b'&').flat_map(|piece| {
        let by_semicolon = piece.contains(&b';').then(|| piece.split(|&byte| byte == b';'));
        std::iter::once(piece).chain(by_semicolon.into_iter().flatten())
    })
}

/// Splits a piece at its first `=`. Without one the value is empty.
pub(super) fn split_pair(piece: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', piece) {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, b""),
    }
}

/// Returns whether two keys of a configuration are the same to some parser.
pub fn same_key(one: &str, other: &str) -> bool {
    letters(one.as_bytes()).eq(letters(other.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::QueryPair;
    use crate::guard::Classification::{self, Other, Webhook};
    use crate::guard::{Guard, Location, Preset, Reason};

    fn location(path: &str, query: &str, preset: Option<Preset>) -> Location {
        let pair = |text: &str| {
            let (key, value) = text.split_once('=').unwrap();
            QueryPair { key: key.to_owned(), value: value.to_owned() }
        };
        Location { query: query.split('&').map(pair).collect(), preset, ..Location::from(path) }
    }

    fn guard() -> Guard {
        Guard::new([
            location("/", "callback=gravityformsstripe", None),
            location("/index.php", "option=com_shop&task=stripe.webhook", Some(Preset::Joomla)),
            location("/", "wc-api=wc_stripe", Some(Preset::WooCommerce)),
            Location::from("/webhooks/stripe"),
        ])
    }

    const fn ambiguous(webhook: usize) -> Classification {
        Classification::Ambiguous { reason: Reason::Query, webhook }
    }

    #[test]
    fn a_query_tells_a_webhook_only_on_its_path_and_in_its_spelling() {
        for (target, expected) in [
            ("/?callback=gravityformsstripe", Webhook(0)),
            ("/?a=b&callback=gravityformsstripe&c", Webhook(0)),
            ("http://shop.example/?callback=gravityformsstripe", Webhook(0)),
            ("/index.php?task=stripe.webhook&x=1&option=com_shop", Webhook(1)),
            ("/?wc-api=wc_stripe", Webhook(2)),
            ("/webhooks/stripe?x=1", Webhook(3)),
            ("/shop?callback=gravityformsstripe", ambiguous(0)),
            ("//?callback=gravityformsstripe", ambiguous(0)),
            ("/?callback=gravityformsstripe&callback=x", ambiguous(0)),
            ("/?callback=gravityformsstripe;x", ambiguous(0)),
            ("/?callback=gravityformsstripe&wc-api=wc_stripe", ambiguous(2)),
            ("/webhooks/stripe?callback=gravityformsstripe", ambiguous(0)),
            ("/index.php?option=com_shop&task=stripe_webhook", ambiguous(1)),
            ("/index.php?option=COM_SHOP&task=stripe.webhook", ambiguous(1)),
            ("/component/shop?task=stripe.webhook", ambiguous(1)),
            ("/de/x/Component/com_shop/y?task=stripe.webhook", ambiguous(1)),
            ("/index.php?task=stripe.webhook", ambiguous(1)),
            ("/index.php?Itemid=5&task=stripe.webhook", ambiguous(1)),
            ("/our-shop?task=stripe.webhook", ambiguous(1)),
            ("/component/other?task=stripe.webhook", ambiguous(1)),
            ("/index.php?option=com_shop&controller=stripe&task=webhook", ambiguous(1)),
            ("/our-shop?view=Stripe&task=webhook", ambiguous(1)),
            ("/index.php?option=com_shop&task[stripe.webhook]=1", ambiguous(1)),
            ("/index.php?option=com_shop&task%5Bstripe.webhook%5D=1", ambiguous(1)),
            ("/index.php?option=com_shop&task=stripe.webhook.x", ambiguous(1)),
            ("/index.php?option=com_shop&task=.stripe.webhook", ambiguous(1)),
            ("/any/wc-api/wc_stripe/", ambiguous(2)),
            ("/x/../wc%2Dapi//wc_str!ipe", ambiguous(2)),
        ] {
            assert_eq!(guard().classify(target.as_bytes()), expected, "{target}");
        }
        for target in [
            "/",
            "/?",
            "/?callback=other",
            "/?other=gravityformsstripe",
            "/?callback&gravityformsstripe",
            "/?x[callback]=gravityformsstripe",
            "/index.php?option=com_shop&task=list",
            "/component/shop?task=list",
            "/our-shop?task=webhook",
            "/our-shop?controller=stripe&task=list",
            "/our-shop?task=stripe.list",
            "/our-shop?task[list]=stripe",
            "/our-shop?Itemid=5&option=com_shop",
            "/wc-api/v3/wc_stripe",
            "/wc-api",
            "/shop/wc_stripe",
        ] {
            assert_eq!(guard().classify(target.as_bytes()), Other, "{target}");
        }
    }

    #[test]
    fn the_location_with_more_of_the_same_pairs_takes_precedence() {
        let guard = Guard::new([location("/", "a=1", None), location("/", "a=1&b=2", None)]);
        assert_eq!(guard.classify(b"/?b=2&a=1"), Webhook(1));
        assert_eq!(guard.classify(b"/?a=1&b=3"), Webhook(0));
        assert_eq!(guard.classify(b"/?a=1&b=%32"), ambiguous(1));
    }

    #[test]
    fn a_path_of_a_product_may_be_a_location_of_its_own() {
        let path = Location { preset: Some(Preset::WooCommerce), ..Location::from("/wc-api/wc_stripe/") };
        let guard = Guard::new([location("/", "wc-api=wc_stripe", Some(Preset::WooCommerce)), path]);
        assert_eq!(guard.classify(b"/wc-api/wc_stripe/"), Webhook(1));
        assert_eq!(guard.classify(b"/?wc-api=wc_stripe"), Webhook(0));
        assert_ne!(guard.classify(b"/wc-api/wc_stripe"), Other);
        assert_eq!(guard.classify(b"/x/wc-api/wc_stripe/"), ambiguous(0));
    }
}
