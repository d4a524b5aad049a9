//! gunicorn, which by default lets a local proxy set `SCRIPT_NAME`, and with it the application's path.

use crate::harness::{Address, Client, Event, Program, Setup};
use crate::tools::{Tool, have, python_packages};
use std::process::Command;

/// An application that responds with the path its router would use.
const APP: &str = "
def app(environ, start):
    start('200 OK', [('Content-Type', 'text/plain')])
    return [environ['PATH_INFO'].encode()]
";

#[tokio::test]
async fn no_header_chooses_the_path_in_gunicorn() {
    let Some(packages) = python_packages().filter(|_| have("python3")) else { return };
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("app.py"), APP).unwrap();
    let mut gunicorn = Command::new("python3");
    gunicorn.args(["-m", "gunicorn", "--bind", "127.0.0.1:0", "app:app"]).current_dir(&folder);
    gunicorn.env("PYTHONPATH", &packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut gunicorn = Tool::start(&mut gunicorn);
    gunicorn.wait_for_output("Booting worker").await;
    let log = gunicorn.log();
    let url = log.split_once("Listening at: ").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
    let app = Address::parse(url.strip_prefix("http://").unwrap());
    let program = Program::start(Setup::to(url)).await;

    let path = "/api/x/webhooks/stripe";
    let request = Event::checkout().unsigned().target(path).header("SCRIPT_NAME", "/api/x");
    let alone = Client::connect(&app).await.send(&request).await;
    assert_eq!(alone.text(), "/webhooks/stripe", "what it does without us");
    assert_eq!(program.send(&request).await.text(), path);
}
