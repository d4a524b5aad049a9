//! gunicorn, which by default lets a local proxy set `SCRIPT_NAME`, and with it the application's path.

use crate::harness::{Client, Event, Program, Setup};
use crate::tools::gunicorn;

/// An application that responds with the path its router would use.
const APP: &str = "
def app(environ, start):
    start('200 OK', [('Content-Type', 'text/plain')])
    return [environ['PATH_INFO'].encode()]
";

#[tokio::test]
async fn no_header_chooses_the_path_in_gunicorn() {
    let Some((_gunicorn, _folder, app)) = gunicorn(APP).await else { return };
    let program = Program::start(Setup::to(&app.url())).await;

    let path = "/api/x/webhooks/stripe";
    let request = Event::checkout().unsigned().target(path).header("SCRIPT_NAME", "/api/x");
    let alone = Client::connect(&app).await.send(&request).await;
    assert_eq!(alone.text(), "/webhooks/stripe", "what it does without us");
    assert_eq!(program.send(&request).await.text(), path);
}
