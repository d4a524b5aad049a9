//! Second ways to a webhook that the guard cannot know: a prefix for the language, and a router that takes its path from
//! the query. Forged events are posted to real frameworks through the program. They find such a way where there is one,
//! and none once it is configured.

use crate::harness::{Address, Event, Program, Setup};
use crate::tools::{Tool, gunicorn, have, npm, php_server};
use std::process::Command;
use tempfile::TempDir;
use toml::Value;

/// The targets to try beside `/webhooks/stripe`: prefixes for languages, and the parameters of query routers.
const PROBES: [&str; 14] = [
    "/en/webhooks/stripe",
    "/de/webhooks/stripe",
    "/en-US/webhooks/stripe",
    "/de-ch/webhooks/stripe",
    "/xx/webhooks/stripe",
    "/?r=webhooks/stripe",
    OTHER_SPELLING,
    "/index.php?r=webhooks/stripe",
    "/?q=webhooks/stripe",
    "/?route=webhooks/stripe",
    "/?url=webhooks/stripe",
    "/?_url=/webhooks/stripe",
    "/?rest_route=/webhooks/stripe",
    "/?s=webhooks/stripe",
];

/// A probe that is another spelling of `r=webhooks/stripe`.
const OTHER_SPELLING: &str = "/?r=/webhooks/stripe";

/// What the handler of each application responds.
const HANDLED: &str = "the webhook was handled";

/// Posts a forged event to each target. Returns those at which the application handled it.
async fn handled_forgeries(program: &Program, targets: &[&'static str]) -> Vec<&'static str> {
    let mut found = vec![];
    for target in targets {
        let forged = Event::checkout().signed_by(&["whsec_of_somebody_else"]).target(target);
        let response = program.send(&forged).await;
        if response.text().contains(HANDLED) {
            assert_eq!(response.outcome(), "", "{target} passed through");
            found.push(*target);
        }
    }
    found
}

/// Checks that the probes find exactly these ways, and none with the paths (or the further endpoint) of `closed`. There,
/// genuine events still arrive by each way.
async fn finds_and_closes(
    application: &Address,
    expected: &[&'static str],
    closed: impl FnOnce(Setup) -> Setup,
) {
    let setup = Setup::to(&application.url()).set("webhook.name", "shop");
    let program = Program::start(setup.clone()).await;
    let genuine = Event::checkout();
    let delivered = program.send(&genuine.signed()).await;
    assert!(delivered.expect_delivered(200).text().contains(HANDLED), "{}", delivered.text());
    assert_eq!(handled_forgeries(&program, &PROBES).await, expected);

    let program = program.restart_with(closed(setup)).await;
    assert_eq!(handled_forgeries(&program, &PROBES).await, [""; 0]);
    for target in expected {
        let forged = Event::checkout().signed_by(&["whsec_of_somebody_else"]).target(target);
        let refused = program.send(&forged).await;
        // A second spelling of the pair that is configured stays closed to genuine events, too.
        if *target == OTHER_SPELLING {
            refused.expect_error(400, "ambiguous_path");
            continue;
        }
        refused.expect_error(400, "signature_mismatch");
        let event = Event::checkout();
        program.send(&event.signed().target(target)).await.expect_delivered(200);
    }
}

fn paths(paths: &[&str]) -> Value {
    Value::Array(paths.iter().map(|&path| path.into()).collect())
}

/// A router that is mounted at the root and once for each language.
const EXPRESS: &str = "
const express = require('express');
const router = express.Router();
router.post('/webhooks/stripe', (request, response) => response.send('the webhook was handled'));
const app = express();
app.use(router);
app.use(['/en', '/de'], router);
const server = app.listen(0, '127.0.0.1', () => console.log(`listening at ${server.address().port} now`));
";

#[tokio::test]
async fn express_router_that_is_mounted_again_for_each_language_is_found_and_closed() {
    let Some(package) = npm("express").filter(|_| have("node")) else { return };
    let mut express = Tool::start(Command::new("node").args(["-e", EXPRESS]).current_dir(package));
    express.wait_for_output(" now").await;
    let log = express.log();
    let address = Address::parse(&format!("127.0.0.1:{}", log.split(' ').nth(2).unwrap()));
    let all = ["/webhooks/stripe", "/en/webhooks/stripe", "/de/webhooks/stripe"];
    finds_and_closes(&address, &all[1..], |setup| setup.set("webhook.path", paths(&all))).await;
}

/// A URL configuration of which everything is below `i18n_patterns`, without a prefix for the default language.
const DJANGO: &str = "
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=['*'], ROOT_URLCONF=__name__, SECRET_KEY='x', USE_I18N=True, LANGUAGE_CODE='en',
                   LANGUAGES=[('en', 'English'), ('de', 'German'), ('de-ch', 'Swiss German')],
                   MIDDLEWARE=['django.middleware.locale.LocaleMiddleware'])

def webhook(request):
    return HttpResponse('the webhook was handled')

webhook.csrf_exempt = True
urlpatterns = i18n_patterns(path('webhooks/stripe', webhook), prefix_default_language=False)
app = get_wsgi_application()
";

#[tokio::test]
async fn django_route_below_i18n_patterns_is_found_and_closed() {
    let Some((_gunicorn, _folder, address)) = gunicorn(DJANGO).await else { return };
    let all = ["/webhooks/stripe", "/de/webhooks/stripe", "/de-ch/webhooks/stripe"];
    finds_and_closes(&address, &all[1..], |setup| setup.set("webhook.path", paths(&all))).await;
}

/// A route in an optional scope that takes any locale.
const RAILS: &str = r#"
require "action_controller/railtie"
class App < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.secret_key_base = "x" * 64
  config.hosts.clear
  config.logger = Logger.new(File::NULL)
  routes.append { scope("(:locale)") { post "webhooks/stripe", to: "hooks#stripe" } }
end
App.initialize!
class HooksController < ActionController::Base
  skip_forgery_protection
  def stripe
    render plain: "the webhook was handled"
  end
end
run App
"#;

#[tokio::test]
async fn rails_route_in_a_locale_scope_is_found_and_closed_by_a_variable_segment() {
    if !have("puma") || !have("ruby") {
        return;
    }
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("config.ru"), RAILS).unwrap();
    let mut command = Command::new("puma");
    command
        .args(["--bind", "tcp://127.0.0.1:0", "--environment", "production", "config.ru"])
        .current_dir(&folder);
    let mut puma = Tool::start(&mut command);
    puma.wait_for_output("Use Ctrl-C").await;
    let log = puma.log();
    let url = log.split_once("Listening on http://").and_then(|(_, rest)| rest.lines().next()).unwrap();
    let all = ["/webhooks/stripe", "/{locale}/webhooks/stripe"];
    let closed = |setup: Setup| setup.set("webhook.path", paths(&all));
    finds_and_closes(&Address::parse(url), &PROBES[..5], closed).await;
}

/// A front controller in the manner of Yii: the route is the path, or the parameter `r`.
const PHP: &str = "<?php
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$route = $_GET['r'] ?? preg_replace('~^/(index\\.php/?)?~', '', $path);
if (trim($route, '/') !== 'webhooks/stripe') { http_response_code(404); exit('no such page'); }
echo 'the webhook was handled';
";

#[tokio::test]
async fn php_front_controller_that_routes_by_the_query_is_found_and_closed() {
    if !have("php") {
        return;
    }
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("index.php"), PHP).unwrap();
    let (_php, port) = php_server(folder.path(), "index.php").await;
    let address = Address::parse(&format!("127.0.0.1:{port}"));
    let ways = ["/?r=webhooks/stripe", OTHER_SPELLING, "/index.php?r=webhooks/stripe"];
    // One more [[webhook]] with the same name: the pair, on both paths of the front controller.
    let closed = |setup: Setup| {
        setup
            .webhook("/", &["{$STRIPE_WEBHOOK_SECRET}"])
            .set("webhook.1.path", paths(&["/", "/index.php"]))
            .set("webhook.1.query", "r=webhooks/stripe")
            .set("webhook.1.name", "shop")
    };
    finds_and_closes(&address, &ways, closed).await;
}
