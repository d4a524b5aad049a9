//! What a backend reads of a request behind the real Caddy, with and without the program between them: the bytes of the
//! head, and the client's address, scheme and host as Express, Django, Rails, PHP and ASP.NET find them.

use crate::harness::{Address, Backend, Client, Event, Program, Received, Request, Response, Setup};
use crate::tools::{Caddy, Tool, gunicorn, have, npm, php_server};
use serde_json::Value;
use std::net::IpAddr;
use std::process::Command;
use tempfile::TempDir;

/// Caddy behind a CDN: it believes the CDN's headers and adds some of its own.
const CADDYFILE: &str = "
{
	admin off
}
{$SITE_ADDRESS} {
	reverse_proxy {$COUNTERSIGN} {
		header_up X-Forwarded-For {http.request.header.CF-Connecting-IP}
		header_up X-Forwarded-Proto https
		header_up X-Real-IP {http.request.header.CF-Connecting-IP}
		header_up +X-Tenant green
		header_up -CF-Ray
	}
}
";

/// The address of the client, as the CDN reports it.
const CLIENT: &str = "203.0.113.9";

/// Two ways to one backend: through Caddy alone, and through Caddy and the program.
struct Ways {
    before: Caddy,
    after: Caddy,
    _program: Program,
    _folder: TempDir,
}

impl Ways {
    /// Starts both ways to the backend at this address.
    async fn start(backend: &Address, setup: Setup) -> Self {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("Caddyfile");
        std::fs::write(&config, CADDYFILE).unwrap();
        let program = Program::start(setup).await;
        let before = Caddy::start_configured(&config, &backend.text()).await;
        let after = Caddy::start_configured(&config, &program.proxy().text()).await;
        Self { before, after, _program: program, _folder: folder }
    }

    /// Sends a request both ways and returns both responses.
    async fn send(&self, request: &Request) -> [Response; 2] {
        [self.before.send(request).await, self.after.send(request).await]
    }
}

/// Returns a page and a webhook, as the CDN sends them.
fn requests() -> [Request; 2] {
    let page = Request::get("/posts/1?a=b").header("Cookie", "a=b").header("Accept", "text/html");
    [page, Event::checkout().signed()].map(|request| {
        request
            .header("CF-Connecting-IP", CLIENT)
            .header("CF-Ray", "1")
            .header("X-Tenant", "blue")
            .header("Authorization", "Basic c3RyaXBlOmh1bnRlcjI=")
            .header("baggage", "k=v")
            .header("Accept-Encoding", "gzip")
            // Without one the program makes one.
            .header("X-Request-Id", "from-the-client")
    })
}

/// Returns the lines of a head without those that a delivery adds.
fn lines(got: &Received) -> Vec<String> {
    let head = String::from_utf8(got.head.clone()).unwrap();
    let is_added = |line: &str| line.starts_with("Countersign-") || line.starts_with("Idempotency-Key: ");
    head.split("\r\n").filter(|line| !is_added(line)).map(str::to_owned).collect()
}

#[tokio::test]
async fn backend_gets_the_head_that_caddy_sends_with_and_without_the_program() {
    if !have("caddy") {
        return;
    }
    let backend = Backend::start().await;
    let ways = Ways::start(backend.address(), Setup::new(&backend)).await;
    for request in requests() {
        let before = backend.count();
        let [alone, through] = ways.send(&request).await;
        assert_eq!((alone.status, through.status), (200, 200));
        let requests = backend.requests();
        let [alone, through] = [&requests[before], &requests[before + 1]];
        let (mut expected, mut got) = (lines(alone), lines(through));
        for line in
            ["X-Tenant: blue", "X-Tenant: green", "X-Real-Ip: 203.0.113.9", "X-Forwarded-For: 203.0.113.9"]
        {
            assert!(expected.contains(&line.to_owned()), "{line} comes from Caddy: {expected:?}");
        }
        if request.is_get() {
            // The forwarded lines of a page move behind its other headers.
            expected.sort();
            got.sort();
        }
        assert_eq!(got, expected, "{}", through.target);
        assert_eq!(through.body.bytes, alone.body.bytes);
    }
}

/// Checks that an application reads the same of a page and a webhook both ways, and that it reads the client.
async fn reads_the_same(application: &Address) {
    let ways = Ways::start(application, Setup::to(&application.url())).await;
    for request in requests() {
        let [alone, through] = ways.send(&request).await;
        assert_eq!((alone.status, through.status), (200, 200), "{} {}", alone.text(), through.text());
        let [alone, through]: [Value; 2] = [alone.json(), through.json()];
        assert_eq!(through, alone);
        let expected = [CLIENT, "https", Request::HOST];
        assert_eq!(["address", "scheme", "host"].map(|name| alone[name].as_str().unwrap()), expected);
    }
    // The application refuses a client that is not on its list, so it did look.
    let stranger = Request::get("/posts/1").header("CF-Connecting-IP", "198.51.100.1");
    let [alone, through] = ways.send(&stranger).await;
    assert_eq!((alone.status, through.status), (403, 403), "{} {}", alone.text(), through.text());
}

/// Express behind one proxy, with a list of allowed addresses.
const EXPRESS: &str = "
const app = require('express')();
app.set('trust proxy', 1);
app.use((request, response) => {
  const { ip, ips, protocol: scheme, hostname: host, originalUrl, secure } = request;
  const status = ip === '203.0.113.9' ? 200 : 403;
  response.status(status).json({ address: ip, ips, scheme, secure, host, originalUrl, auth: request.get('Authorization') });
});
const server = app.listen(0, '127.0.0.1', () => console.log(`listening at ${server.address().port} now`));
";

#[tokio::test]
async fn express_behind_one_proxy_reads_the_same_client_with_and_without_the_program() {
    let Some(package) = npm("express").filter(|_| have("caddy") && have("node")) else { return };
    let mut express = Tool::start(Command::new("node").args(["-e", EXPRESS]).current_dir(package));
    express.wait_for_output(" now").await;
    let log = express.log();
    let port = log.split(' ').nth(2).unwrap();
    reads_the_same(&Address::parse(&format!("127.0.0.1:{port}"))).await;
}

/// Django behind one proxy, by its own settings for that.
const DJANGO: &str = "
import json
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import re_path

settings.configure(ALLOWED_HOSTS=['shop.example'], ROOT_URLCONF=__name__, SECRET_KEY='x', USE_X_FORWARDED_HOST=True,
                   SECURE_PROXY_SSL_HEADER=('HTTP_X_FORWARDED_PROTO', 'https'))

def read(request):
    address = request.META['HTTP_X_FORWARDED_FOR'].split(',')[-1].strip()
    meta = {k: request.META.get(k) for k in ['HTTP_AUTHORIZATION', 'HTTP_X_TENANT', 'HTTP_X_REAL_IP', 'HTTP_COOKIE', 'CONTENT_LENGTH']}
    body = {'address': address, 'scheme': request.scheme, 'host': request.get_host(), 'url': request.build_absolute_uri(), 'meta': meta}
    return JsonResponse(body, status=200 if address == '203.0.113.9' else 403)

read.csrf_exempt = True
urlpatterns = [re_path('', read)]
app = get_wsgi_application()
";

#[tokio::test]
async fn django_behind_one_proxy_reads_the_same_client_with_and_without_the_program() {
    if !have("caddy") {
        return;
    }
    let Some((_gunicorn, _folder, address)) = gunicorn(DJANGO).await else { return };
    reads_the_same(&address).await;
}

/// Rails behind one proxy, with the settings of a production environment: a list of hosts, and TLS enforced.
const RAILS: &str = r#"
require "action_controller/railtie"
class App < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.secret_key_base = "x" * 64
  config.hosts = ["shop.example"]
  config.force_ssl = true
  config.logger = Logger.new(File::NULL)
  routes.append { match "*path", to: "read#show", via: :all, format: false }
end
App.initialize!
class ReadController < ActionController::Base
  skip_forgery_protection
  def show
    read = { address: request.remote_ip, scheme: request.scheme, host: request.host, url: request.url, format: request.format.to_s,
             accept: request.headers["Accept"], auth: request.headers["Authorization"], body: request.raw_post }
    render json: read, status: request.remote_ip == "203.0.113.9" ? 200 : 403
  end
end
run App
"#;

#[tokio::test]
async fn rails_in_production_reads_the_same_client_and_accept_with_and_without_the_program() {
    if !have("caddy") || !have("puma") || !have("ruby") {
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
    reads_the_same(&Address::parse(url)).await;
}

/// A PHP script that reads what PHP applications read.
const PHP: &str = "<?php
$address = trim(array_slice(explode(',', $_SERVER['HTTP_X_FORWARDED_FOR']), -1)[0]);
http_response_code($address === '203.0.113.9' ? 200 : 403);
header('Content-Type: application/json');
$headers = array_filter(getallheaders(), fn($name) => !preg_match('/^(Countersign-|Idempotency-Key)/i', $name), ARRAY_FILTER_USE_KEY);
ksort($headers);
echo json_encode(['address' => $address, 'scheme' => $_SERVER['HTTP_X_FORWARDED_PROTO'], 'host' => $_SERVER['HTTP_X_FORWARDED_HOST'],
  'user' => $_SERVER['PHP_AUTH_USER'], 'uri' => $_SERVER['REQUEST_URI'], 'headers' => $headers, 'body' => file_get_contents('php://input')]);
";

#[tokio::test]
async fn php_reads_the_same_request_with_and_without_the_program() {
    if !have("caddy") || !have("php") {
        return;
    }
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("index.php"), PHP).unwrap();
    let (_php, port) = php_server(folder.path(), "index.php").await;
    reads_the_same(&Address::parse(&format!("127.0.0.1:{port}"))).await;
}

/// What ASP.NET Core's `ForwardedHeadersMiddleware` makes of a request.
#[derive(Debug, PartialEq)]
struct AspNetReading {
    address: String,
    scheme: String,
    host: String,
}

/// The options of that middleware that decide whom it believes.
#[derive(Clone, Copy)]
struct AspNetOptions {
    /// `ForwardLimit`; `None` is no limit. The default is 1.
    forward_limit: Option<usize>,
    /// Whether `KnownProxies` or `KnownNetworks` has entries. By default it is the loopback network.
    checks_peers: bool,
}

/// Reads a request by the documented rules of the middleware
/// (<https://learn.microsoft.com/aspnet/core/host-and-deploy/proxy-load-balancer>), since no registry here has .NET: the
/// entries are read from right to left, up to the limit, and only while the address that sent them is a known proxy.
fn read_as_asp_net(got: &Received, options: AspNetOptions) -> AspNetReading {
    let entries = |name: &str| -> Vec<String> {
        let values = got.headers.all(name);
        values.iter().flat_map(|value| value.split(',')).map(|entry| entry.trim().to_owned()).collect()
    };
    let [addresses, schemes, hosts] =
        ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"].map(entries);
    let longest = addresses.len().max(schemes.len()).max(hosts.len());
    let from_the_right = |list: &[String], n: usize| -> Option<String> {
        list.iter().rev().nth(n).filter(|entry| !entry.is_empty()).cloned()
    };
    let host = got.header("Host").unwrap().to_owned();
    let mut reading = AspNetReading { address: "127.0.0.1".to_owned(), scheme: "http".to_owned(), host };
    for n in 0..options.forward_limit.unwrap_or(longest).min(longest) {
        let peer: IpAddr = reading.address.parse().unwrap();
        if options.checks_peers && !peer.is_loopback() {
            break;
        }
        let address = from_the_right(&addresses, n).filter(|entry| entry.parse::<IpAddr>().is_ok());
        reading.address = address.unwrap_or(reading.address);
        reading.scheme = from_the_right(&schemes, n).unwrap_or(reading.scheme);
        reading.host = from_the_right(&hosts, n).unwrap_or(reading.host);
    }
    reading
}

#[tokio::test]
async fn asp_net_behind_one_proxy_reads_the_same_client_with_and_without_the_program() {
    if !have("caddy") {
        return;
    }
    let backend = Backend::start().await;
    let ways = Ways::start(backend.address(), Setup::new(&backend)).await;
    let client = AspNetReading {
        address: CLIENT.to_owned(),
        scheme: "https".to_owned(),
        host: Request::HOST.to_owned(),
    };
    for (forward_limit, checks_peers) in [(Some(1), true), (Some(2), true), (None, true), (Some(1), false)] {
        let options = AspNetOptions { forward_limit, checks_peers };
        for request in requests() {
            let before = backend.count();
            let [alone, through] = ways.send(&request).await;
            assert_eq!((alone.status, through.status), (200, 200));
            let requests = backend.requests();
            let [alone, through] = [0, 1].map(|n| read_as_asp_net(&requests[before + n], options));
            assert_eq!(through, alone, "{forward_limit:?} {checks_peers}");
            assert_eq!(through, client, "{forward_limit:?} {checks_peers}");
        }
    }
}

#[tokio::test]
async fn asp_net_reading_takes_the_rightmost_entries_of_known_proxies_up_to_the_limit() {
    let backend = Backend::start().await;
    let request = Request::get("/")
        .header("X-Forwarded-For", "198.51.100.1, 203.0.113.9")
        .header("X-Forwarded-For", "127.0.0.1")
        .header("X-Forwarded-Proto", "https");
    Client::connect(backend.address()).await.send(&request).await;
    let got = backend.requests().pop().unwrap();
    for (forward_limit, checks_peers, address) in [
        (Some(1), true, "127.0.0.1"),
        (Some(2), true, "203.0.113.9"),
        (None, true, "203.0.113.9"),
        (None, false, "198.51.100.1"),
        (Some(0), true, "127.0.0.1"),
    ] {
        let reading = read_as_asp_net(&got, AspNetOptions { forward_limit, checks_peers });
        assert_eq!(reading.address, address, "{forward_limit:?} {checks_peers}");
        assert_eq!(reading.scheme == "https", forward_limit != Some(0));
    }
}
