//! Programs whose traffic passes through: a development server, Socket.IO, git, gunicorn and PHP-FPM. Each is used by its
//! own client, with Countersign in between.

use crate::harness::{Address, Program, Request, Setup};
use crate::tools::{Caddy, Tool, gunicorn_with, have, npm};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The root of a file in `tests/apps`.
fn script(name: &str) -> String {
    format!("{}/tests/apps/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Starts a server that prints `listening on PORT`, and returns its address.
async fn start(command: &mut Command) -> (Tool, Address) {
    let mut tool = Tool::start(command);
    tool.wait_for_output("listening on ").await;
    let log = tool.log();
    let port = log.split("listening on ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    (tool, Address::parse(&format!("127.0.0.1:{port}")))
}

/// Runs a client to its end. Its exit status decides.
async fn run(command: &mut Command) {
    let mut command = std::mem::replace(command, Command::new("true"));
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("a start");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
}

fn node(name: &str, modules: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(script(name)).env("NODE_PATH", modules);
    command
}

/// The folder of the npm packages, if these are there.
fn modules(packages: &[&str]) -> Option<std::path::PathBuf> {
    let found: Vec<_> = packages.iter().map_while(|package| npm(package)).collect();
    (found.len() == packages.len() && have("node")).then(|| found[0].parent().expect("a folder").to_owned())
}

#[tokio::test]
async fn vite_tells_a_browser_that_was_silent_for_a_minute_about_a_change() {
    let Some(modules) = modules(&["vite", "ws"]) else { return };
    let site = TempDir::new().unwrap();
    std::fs::write(site.path().join("index.html"), "<script type=module src=/main.js></script>").unwrap();
    std::fs::write(site.path().join("main.js"), "console.log(1)").unwrap();
    let (_vite, address) = start(node("vite.cjs", &modules).arg(site.path())).await;
    let program = Program::start(Setup::to(&address.url())).await;
    let page = program.send(&Request::get("/").header("Accept", "text/html")).await;
    assert!(page.status == 200 && page.text().contains("/@vite/client"), "{}", page.text());
    let url = format!("127.0.0.1:{}", program.proxy().port());
    run(node("vite-client.cjs", &modules).arg(url).arg(site.path().join("main.js"))).await;
}

#[tokio::test]
async fn socket_io_polls_and_upgrades() {
    let Some(modules) = modules(&["socket.io", "socket.io-client"]) else { return };
    let (_server, address) = start(&mut node("socketio.cjs", &modules)).await;
    let program = Program::start(Setup::to(&address.url())).await;
    let url = format!("http://127.0.0.1:{}", program.proxy().port());
    for transports in ["polling", "websocket", "polling,websocket"] {
        run(node("socketio-client.cjs", &modules).args([&url, transports])).await;
    }
}

#[tokio::test]
async fn git_pushes_and_clones_twelve_megabytes() {
    if !have("git") || !have("python3") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let git = |arguments: &[&str], place: &Path| {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(place).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_TERMINAL_PROMPT", "0");
        for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
            command.env(name, "a@b.example");
        }
        command
    };
    run(&mut git(&["init", "-q", "--bare", "shop.git"], folder.path())).await;
    run(&mut git(&["config", "http.receivepack", "true"], &at("shop.git"))).await;
    let mut server = Command::new("python3");
    let (_server, address) = start(server.arg(script("git_server.py")).arg(folder.path())).await;
    let program = Program::start(Setup::to(&address.url())).await;
    let url = format!("http://127.0.0.1:{}/shop.git", program.proxy().port());

    run(&mut git(&["init", "-q", "-b", "main", "work"], folder.path())).await;
    // Noise, which no pack makes smaller.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(12 << 20)
    .collect();
    std::fs::write(at("work/noise"), &noise).unwrap();
    run(&mut git(&["add", "."], &at("work"))).await;
    run(&mut git(&["commit", "-qm", "noise"], &at("work"))).await;
    // A pack that is larger than http.postBuffer goes out in chunks.
    run(&mut git(&["push", "-q", &url, "main"], &at("work"))).await;
    run(&mut git(&["clone", "-q", "-b", "main", &url, "copy"], folder.path())).await;
    assert!(std::fs::read(at("copy/noise")).unwrap() == noise, "another file came back");
}

#[tokio::test]
async fn gunicorn_that_closes_idle_connections_after_two_seconds_answers_every_post() {
    let app = "
def app(environ, start):
    body = environ['wsgi.input'].read()
    start('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
";
    let options = ["--worker-class", "gthread", "--threads", "4", "--keep-alive", "2"];
    let Some((_gunicorn, _folder, address)) = gunicorn_with(app, &options).await else { return };
    let program = Program::start(Setup::to(&address.url())).await;
    let mut client = program.connect().await;
    for pause in [0, 1_000, 2_500, 3_500, 0] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let response = client.send(&Request::post("/api/x", "a=b")).await;
        assert_eq!((response.status, response.text().as_str()), (200, "a=b"), "after {pause} ms");
    }
}

#[tokio::test]
async fn php_fpm_behind_caddy_gets_target_headers_and_body() {
    let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"];
    let names = ["php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm"];
    let places = names.iter().flat_map(|name| folders.iter().map(move |folder| Path::new(folder).join(name)));
    let fpm = places.into_iter().find(|place| place.is_file());
    let Some(fpm) = fpm.filter(|_| have("caddy")) else {
        have("php-fpm");
        return;
    };
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let socket = at("fpm.sock");
    let pool = format!(
        "[global]\nerror_log = {}\ndaemonize = no\n[www]\nlisten = {}\npm = static\npm.max_children = 2\n",
        at("log").display(),
        socket.display()
    );
    std::fs::write(at("fpm.conf"), pool).unwrap();
    let page = "<?php echo json_encode([$_SERVER['REQUEST_METHOD'], $_SERVER['REQUEST_URI'], $_GET, $_SERVER['HTTP_X_ODD'] ?? null, strlen(file_get_contents('php://input'))]);";
    std::fs::write(at("index.php"), page).unwrap();
    let config = format!(
        "{{\nadmin off\nauto_https off\n}}\n{{$SITE_ADDRESS}}\nroot * {}\nphp_fastcgi unix/{}\n",
        folder.path().display(),
        socket.display()
    );
    std::fs::write(at("Caddyfile"), config).unwrap();
    let mut fpm_command = Command::new(fpm);
    fpm_command.args(["-F", "-R", "-y"]).arg(at("fpm.conf"));
    let _fpm = Tool::start(&mut fpm_command);
    crate::harness::until("FPM's socket", async || socket.exists().then_some(())).await;
    let caddy = Caddy::start_configured(&at("Caddyfile"), "127.0.0.1:1").await;
    let program = Program::start(Setup::to(&caddy.address().url())).await;
    let target = "/index.php?name=M&raw[]=<\"a\">&raw[]=2";
    let request = Request::post(target, "x".repeat(300_000)).header("X-Odd", "a  b");
    let response = program.send(&request).await;
    let expected = serde_json::json!(["POST", target, {"raw": ["<\"a\">", "2"]}, "a  b", 300_000]);
    let got = response.json();
    assert_eq!(
        (&got[0], &got[1], &got[3], &got[4]),
        (&expected[0], &expected[1], &expected[3], &expected[4]),
        "{got}"
    );
}
