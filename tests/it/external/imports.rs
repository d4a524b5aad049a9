//! Imported events in stock applications with the settings of a production environment: a list of hosts, and TLS enforced.

use crate::harness::{Address, Event, Program, Setup};
use crate::ops::events::{call_api, in_state, with_events_api};
use crate::tools::{Tool, gunicorn, have, npm};
use std::process::Command;
use tempfile::TempDir;

/// Checks that an application accepts an event that is imported with `[[webhook]] url`, and none without it.
async fn accepts_an_imported_event(application: &Address) {
    let setup = with_events_api(Setup::to(&application.url()));
    let public = setup.clone().set("webhook.url", "https://shop.example/webhooks/stripe");
    for (setup, state) in [(public, "delivered"), (setup.set("webhook.retry", Vec::<&str>::new()), "dead")] {
        let program = Program::start(setup).await;
        let event = Event::checkout();
        let body = String::from_utf8(event.body()).unwrap();
        let imported = call_api(&program, "POST", "/api/events?endpoint=%2Fwebhooks%2Fstripe", &body).await;
        assert_eq!(imported.status, 202, "{}", imported.text());
        in_state(&program, &event.id, state).await;
    }
}

/// Django with its own settings for production behind a proxy.
const DJANGO: &str = "
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=['shop.example'], ROOT_URLCONF=__name__, SECRET_KEY='x', SECURE_SSL_REDIRECT=True,
                   SECURE_PROXY_SSL_HEADER=('HTTP_X_FORWARDED_PROTO', 'https'),
                   MIDDLEWARE=['django.middleware.security.SecurityMiddleware', 'django.middleware.common.CommonMiddleware'])

def webhook(request):
    return HttpResponse(request.build_absolute_uri())

webhook.csrf_exempt = True
urlpatterns = [path('webhooks/stripe', webhook)]
app = get_wsgi_application()
";

#[tokio::test]
async fn django_in_production_accepts_an_imported_event() {
    let Some((_gunicorn, _folder, address)) = gunicorn(DJANGO).await else { return };
    accepts_an_imported_event(&address).await;
}

/// Rails with the settings of a production environment.
const RAILS: &str = r#"
require "action_controller/railtie"
class App < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.secret_key_base = "x" * 64
  config.hosts = ["shop.example"]
  config.force_ssl = true
  config.logger = Logger.new(File::NULL)
  routes.append { post "/webhooks/stripe", to: "hooks#create" }
end
App.initialize!
class HooksController < ActionController::Base
  skip_forgery_protection
  def create
    head :ok
  end
end
run App
"#;

#[tokio::test]
async fn rails_in_production_accepts_an_imported_event() {
    if !have("puma") || !have("ruby") {
        return;
    }
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("config.ru"), RAILS).unwrap();
    let mut puma = Command::new("puma");
    puma.args(["--bind", "tcp://127.0.0.1:0", "--environment", "production", "config.ru"])
        .current_dir(&folder);
    let mut puma = Tool::start(&mut puma);
    puma.wait_for_output("Use Ctrl-C").await;
    let log = puma.log();
    let url = log.split_once("Listening on http://").and_then(|(_, rest)| rest.lines().next()).unwrap();
    accepts_an_imported_event(&Address::parse(url)).await;
}

/// Express behind one proxy; it redirects to TLS and serves one host, as applications in production do.
const EXPRESS: &str = "
const app = require('express')();
app.set('trust proxy', 1);
app.use((request, response, next) => {
  if (request.hostname !== 'shop.example') return response.sendStatus(400);
  if (!request.secure) return response.redirect(301, `https://${request.hostname}${request.originalUrl}`);
  next();
});
app.post('/webhooks/stripe', (request, response) => response.sendStatus(200));
const server = app.listen(0, '127.0.0.1', () => console.log(`listening at ${server.address().port} now`));
";

#[tokio::test]
async fn express_in_production_accepts_an_imported_event() {
    let Some(package) = npm("express").filter(|_| have("node")) else { return };
    let mut express = Tool::start(Command::new("node").args(["-e", EXPRESS]).current_dir(package));
    express.wait_for_output(" now").await;
    let log = express.log();
    let port = log.split(' ').nth(2).unwrap();
    accepts_an_imported_event(&Address::parse(&format!("127.0.0.1:{port}"))).await;
}
