//! Programs that are not ours, beside the program. A test skips itself where what it needs is missing.
//!
//! - `apps`: Vite, Socket.IO, git, gunicorn and PHP-FPM, with the program between them and their clients
//! - `caddy`: the real Caddy with the shipped Caddyfile
//! - `demo`: `make run`, as a newcomer runs it
//! - `gunicorn`: a backend that lets the proxy set `SCRIPT_NAME`
//! - `frameworks`: what Express, Django and PHP read behind Caddy, with and without the program
//! - `imports`: imported events in Django, Rails and Express with the settings of a production environment
//! - `parsers`: parsers of queries and forms: PHP, Rack, Node, Express, Python, Django
//! - `prometheus`: promtool on the shipped rules and dashboard
//! - `restart`: restarts under load behind Caddy
//! - `routers`: second ways to a webhook in Express, Django, Rails and PHP
//! - `sdk`, `sdk_queued`, `sdk_requests`: Stripe's own libraries, as backend and as client
//! - `stripe_cli`: Stripe's own command line
//! - `fake_stripe_api`: the fake Stripe against Stripe's description of its API
//! - `browser`: Stripe.js in a real browser, which `chromium` drives

mod apps;
mod browser;
mod caddy;
mod chromium;
pub mod demo;
mod fake_stripe_api;
mod frameworks;
mod gunicorn;
mod imports;
mod parsers;
pub mod prometheus;
mod restart;
mod routers;
mod sdk;
mod sdk_queued;
mod sdk_requests;
mod stripe_cli;
