//! The shipped rules and dashboard against the program's real metrics: by promtool, by a real Prometheus that scrapes
//! the program, and by name.

use crate::harness::{
    Address, Backend, Client, Event, OTHER_SECRET, Program, Request, SECRET, Setup, until, within,
};
use crate::tools::{Tool, free_port, have};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;
use tempfile::TempDir;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus");
const RULES: &str = include_str!("../../../config/prometheus/rules.yml");
const RULES_TEST: &str = include_str!("../../../config/prometheus/rules_test.yml");
const DASHBOARD: &str = include_str!("../../../config/grafana/countersign.json");

#[test]
fn promtool_accepts_the_scrape_configuration_and_the_rules() {
    if !have("promtool") {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "rules.yml"]);
}

#[test]
fn every_alert_fires_and_stays_silent_as_its_tests_say() {
    if !have("promtool") {
        return;
    }
    promtool(&["test", "rules", "rules_test.yml"]);
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_stays_silent() {
    let alerts = alerts();
    assert!(alerts.len() > 10, "{alerts:?}");
    let (mut fires, mut stays_silent) = (BTreeSet::new(), BTreeSet::new());
    for tested in RULES_TEST.split("alertname: ").skip(1) {
        let name: String = tested.chars().take_while(char::is_ascii_alphanumeric).collect();
        let (_, expected) = tested.split_once("exp_alerts:").unwrap();
        let silent = expected.trim_start().starts_with("[]");
        if silent { &mut stays_silent } else { &mut fires }.insert(name);
    }
    assert_eq!(fires, alerts);
    assert_eq!(stays_silent, alerts);
}

#[test]
fn every_alert_is_documented() {
    let page = include_str!("../../../docs/alerts.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(headings.map(str::to_owned).collect::<BTreeSet<_>>(), alerts());
    for alert in alerts() {
        let (_, rest) = RULES.split_once(&format!("alert: {alert}\n")).unwrap();
        let runbook = rest.split("runbook: ").nth(1).unwrap().lines().next().unwrap();
        assert_eq!(runbook, format!("docs/alerts.md#{}", alert.to_lowercase()));
    }
}

#[test]
fn every_metric_has_a_panel() {
    let page = include_str!("../../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `countersign_"));
    let names: Vec<_> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert!(names.len() > 20, "{names:?}");
    let queries: Vec<_> = dashboard().into_iter().map(|(_, query)| query).collect();
    for name in names {
        let shown = |query: &String| {
            let suffixes = ["{", "_bucket{", ")"].map(|end| format!("countersign_{name}{end}"));
            suffixes.iter().any(|metric| query.contains(metric))
        };
        assert!(queries.iter().any(shown), "no panel shows countersign_{name}");
    }
}

#[test]
fn rules_use_the_default_limits() {
    let built_in: toml::Table = include_str!("../../../config/countersign.toml").parse().unwrap();
    let built_in = |key| built_in["server"][key].as_integer().unwrap();
    // 0 is three quarters of the connections.
    assert_eq!(built_in("max_passthrough"), 0);
    let max_passthrough = built_in("max_connections") * 3 / 4;
    let limits =
        [(max_passthrough, "countersign_inflight"), (built_in("max_webhooks"), "countersign_events")];
    for (limit, metric) in limits {
        let line = RULES.lines().find(|line| line.contains(metric)).unwrap();
        assert!(line.trim_end().ends_with(&format!("> 0.8 * {limit}")), "{metric}: {limit}: {line}");
    }
}

#[tokio::test]
async fn every_dashboard_panel_has_data_and_a_healthy_program_fires_no_alert() {
    if !have("prometheus") {
        return;
    }
    let backend = Backend::start().await;
    let program = Program::start(two_secrets(&backend)).await;
    let prometheus = Prometheus::start(program.admin()).await;
    until("a first scrape", async || (!prometheus.query("up == 1").await.is_empty()).then_some(())).await;
    traffic(&program).await;

    for (panel, expression) in dashboard() {
        let expression = filled_in(&expression);
        until(format!("something to show in {panel:?}: {expression}"), async || {
            (!prometheus.query(&expression).await.is_empty()).then_some(())
        })
        .await;
    }
    until("every rule at rest", async || {
        let rules = prometheus.rules().await;
        let at_rest = |rule: &Value| rule["health"] == "ok" && rule["state"] == "inactive";
        (rules.len() == alerts().len() && rules.iter().all(at_rest)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rules_and_panels_name_only_existing_metrics_labels_and_values() {
    if !have("prometheus") {
        return;
    }
    let backend = Backend::start().await;
    let program = Program::start(two_secrets(&backend)).await;
    let prometheus = Prometheus::start(program.admin()).await;
    let known = Known::read(&program.metrics().await);
    for rule in prometheus.rules().await {
        known.check(rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
    }
    for (panel, expression) in dashboard() {
        known.check(&panel, &expression);
    }
    let board: Value = serde_json::from_str(DASHBOARD).unwrap();
    for variable in board["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        let requested =
            definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (series, label) = requested.rsplit_once(", ").unwrap();
        known.check(definition, &format!("sum by ({label}) ({series})"));
    }
}

#[test]
fn expression_reader_finds_names_labels_and_values() {
    let known =
        Known::read("up_x 1\ncountersign_a{b=\"one\",c=\"two\"} 1\ncountersign_a{b=\"three\",c=\"two\"} 0\n");
    let wrong = |expression| known.wrong(expression);
    assert_eq!(
        wrong("sum by (b, job) (rate(countersign_a{b=~\"one|th.*\", c!=\"two\"}[5m] offset 1d)) > 0.5"),
        vec![""; 0]
    );
    assert_eq!(wrong("countersign_b"), ["no metric countersign_b"]);
    assert_eq!(wrong("countersign_a{d=\"x\"}"), ["countersign_a has no label d"]);
    assert_eq!(wrong("countersign_a{b=\"two\"}"), ["countersign_a has no b=\"two\""]);
    assert_eq!(wrong("countersign_a{b!~\"one|four\"}"), ["countersign_a has no b=\"four\""]);
    assert_eq!(wrong("countersign_a{b=\"$any\", job=\"x\"}"), vec![""; 0]);
    assert_eq!(wrong("sum by (d) (countersign_a)"), ["no metric here has a label d"]);
    assert_eq!(wrong("summ(countersign_a)"), ["what is summ?"]);
}

/// Returns the names of all alerts.
fn alerts() -> BTreeSet<String> {
    RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(FOLDER).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
}

/// Configures two secrets, so that one is the old one.
fn two_secrets(backend: &Backend) -> Setup {
    Setup::new(backend)
        .env("OLD", OTHER_SECRET)
        .set("webhook.secrets", vec!["{$STRIPE_WEBHOOK_SECRET}", "{$OLD}"])
}

/// Causes every kind of traffic that the dashboard draws only when it happens.
async fn traffic(program: &Program) {
    let event = Event::checkout();
    program.send(&event.signed_by(&[SECRET])).await.expect_delivered(200);
    program.send(&event.signed()).await.expect_received("duplicate");
    program.send(&event.unsigned()).await.expect_error(400, "signature_missing");
    assert_eq!(program.send(&Request::get("/posts/1")).await.status, 200);
}

/// Returns every query of the dashboard, with its panel's title.
fn dashboard() -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    assert!(queries.len() > 20, "only {} queries", queries.len());
    queries
}

/// Returns a query with its variables replaced, as Grafana sends it.
fn filled_in(expression: &str) -> String {
    let filled = expression.replace("$job", "countersign").replace("$endpoint", ".*");
    let filled = filled.replace("$__rate_interval", "1m").replace("$__range", "1m");
    assert!(!filled.contains('$'), "a variable that the dashboard does not have: {filled}");
    filled
}

/// A real Prometheus with the shipped rules that scrapes a program.
pub struct Prometheus {
    tool: Tool,
    address: Address,
    _home: TempDir,
}

impl Prometheus {
    /// Starts it, and waits until it is ready.
    pub async fn start(program: &Address) -> Self {
        // A free port is not reserved: another process may take it first.
        for _ in 0..5 {
            let mut prometheus = Self::launch(program, free_port());
            if prometheus.listens().await {
                return prometheus;
            }
            eprintln!("prometheus did not start: {}", prometheus.tool.log());
        }
        panic!("prometheus found no port");
    }

    fn launch(program: &Address, port: u16) -> Self {
        let home = TempDir::new().unwrap();
        let config = format!(
            "global: {{scrape_interval: 250ms, evaluation_interval: 250ms}}\n\
             rule_files: ['{FOLDER}/rules.yml']\n\
             scrape_configs: [{{job_name: countersign, static_configs: [{{targets: ['{}']}}]}}]\n",
            program.text()
        );
        std::fs::write(home.path().join("prometheus.yml"), config).unwrap();
        let mut command = Command::new("prometheus");
        command
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(home.path());
        let address = Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
        Self { tool: Tool::start(&mut command), address, _home: home }
    }

    /// Waits until it is ready, and returns false if it ended instead.
    async fn listens(&mut self) -> bool {
        until("prometheus being ready, or its end", async || {
            if self.tool.ended() {
                return Some(false);
            }
            let mut client = Client::try_connect(&self.address).await.ok()?;
            (client.send(&Request::get("/-/ready")).await.status == 200).then_some(true)
        })
        .await
    }

    async fn ask(&self, target: &str) -> Value {
        let mut client = Client::connect(&self.address).await;
        let response = within("prometheus' answer", client.send(&Request::get(target))).await;
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.json()["data"].take()
    }

    /// Evaluates an expression now.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let mut target = "/api/v1/query?query=".to_owned();
        for byte in expression.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => target.push(char::from(byte)),
                _ => target += &format!("%{byte:02X}"),
            }
        }
        match self.ask(&target).await["result"].take() {
            Value::Array(result) => result,
            other => panic!("{expression}: {other}"),
        }
    }

    /// Waits until an alert fires.
    pub async fn fires(&self, alert: &str) {
        until(format!("{alert} to fire"), async || {
            let rules = self.rules().await;
            let rule = rules.iter().find(|rule| rule["name"] == alert).expect("an alert of the rules");
            (rule["state"] == "firing").then_some(())
        })
        .await;
    }

    /// Returns the rules as Prometheus has loaded them.
    async fn rules(&self) -> Vec<Value> {
        let groups = self.ask("/api/v1/rules").await["groups"].take();
        let rules = groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.cloned().collect()
    }
}

/// The program's metrics: the labels of each metric, and the values of each label.
struct Known(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

/// The words of an expression that are neither metrics nor labels.
const WORDS: [&str; 16] = [
    "absent",
    "and",
    "by",
    "count",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "offset",
    "on",
    "or",
    "rate",
    "sum",
    "time",
    "unless",
    "without",
];
/// The labels that Prometheus itself adds.
const TARGET: [&str; 2] = ["job", "instance"];

impl Known {
    /// Parses the text format.
    fn read(metrics: &str) -> Self {
        let mut known = BTreeMap::from([("up".to_owned(), BTreeMap::new())]);
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let of_it: &mut BTreeMap<_, BTreeSet<_>> = known.entry(name.to_owned()).or_default();
            let mut quoted = labels.split('"');
            while let (Some(label), Some(value)) = (quoted.next(), quoted.next()) {
                let label = label.trim_start_matches(',').trim_end_matches('=');
                of_it.entry(label.to_owned()).or_default().insert(value.to_owned());
            }
        }
        Self(known)
    }

    #[track_caller]
    fn check(&self, location: &str, expression: &str) {
        let wrong = self.wrong(expression);
        assert!(wrong.is_empty(), "{location}: {wrong:?} in {expression}");
    }

    /// Returns what an expression names and the program does not have.
    fn wrong(&self, expression: &str) -> Vec<String> {
        let tokens = tokens(expression);
        let mut rest = tokens.iter().map(String::as_str).peekable();
        let (mut wrong, mut grouped, mut metrics) = (vec![], vec![], vec![]);
        while let Some(token) = rest.next() {
            if matches!(token, "by" | "on" | "without") {
                let listed = rest.by_ref().skip(1).take_while(|token| *token != ")");
                grouped.extend(listed.filter(|token| *token != ","));
            } else if let Some(labels) = self.0.get(token) {
                metrics.push(labels);
                if rest.next_if_eq(&"{").is_some() {
                    let matchers: Vec<&str> = rest.by_ref().take_while(|token| *token != "}").collect();
                    for matcher in matchers.split(|token| *token == ",") {
                        let [label, operator, value] = matcher else { panic!("{matcher:?} in {expression}") };
                        wrong.extend(mismatch(token, labels, label, operator, value));
                    }
                }
            } else if token.starts_with(|c: char| c.is_ascii_alphabetic()) && !WORDS.contains(&token) {
                let ours = token.starts_with("countersign_") || token.starts_with("process_");
                wrong.push(if ours { format!("no metric {token}") } else { format!("what is {token}?") });
            }
        }
        for label in grouped {
            if !TARGET.contains(&label) && !metrics.iter().any(|labels| labels.contains_key(label)) {
                wrong.push(format!("no metric here has a label {label}"));
            }
        }
        wrong
    }
}

/// Returns what is wrong with a matcher. `values` holds the values of each label of the metric.
fn mismatch(
    metric: &str,
    labels: &BTreeMap<String, BTreeSet<String>>,
    label: &str,
    operator: &str,
    value: &str,
) -> Vec<String> {
    // The values of a dashboard variable come from the metric itself.
    if TARGET.contains(&label) || value.contains('$') {
        return vec![];
    }
    let Some(values) = labels.get(label) else { return vec![format!("{metric} has no label {label}")] };
    let requested: Vec<&str> = if operator.ends_with('~') { value.split('|').collect() } else { vec![value] };
    let is_there = |requested: &&str| match requested.strip_suffix(".*") {
        Some(start) => values.iter().any(|value| value.starts_with(start)),
        None => values.contains(*requested),
    };
    let missing = requested.into_iter().filter(|requested| !is_there(requested));
    missing.map(|requested| format!("{metric} has no {label}=\"{requested}\"")).collect()
}

/// Splits an expression into names, operators, brackets and strings (without quotes). Durations and numbers are
/// single tokens.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            _ if first.is_ascii_alphanumeric() || first == '_' || first == '$' => {
                let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
                rest.find(|c| !inside(c)).unwrap_or(rest.len())
            }
            '=' | '!' | '<' | '>' => {
                rest.find(|c| !matches!(c, '=' | '!' | '~' | '<' | '>')).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        tokens.push(rest[..length].trim_matches('"').to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}
